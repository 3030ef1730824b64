# SPDX-License-Identifier: BSD-3-Clause
"""Vector-Jacobian product of the Richardson-Lucy loop with about 2 sqrt(n_iters) states kept.

A first run keeps every sqrt(n)-th state; each segment is then run again, its states kept, and
walked backwards (Griewank & Walther 2000). One iteration (ops/_rl_step_back.py) undoes
    m = H p + b,  r = y / max(m, floor),  c = B^T r,  x' = p c W D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from otfuse.ops._registry import operator, register_autograd, register_fake
from otfuse.ops._rl_step_back import Iteration, State
from otfuse.ops.richardson_lucy_loop import (
    BODIES,
    SETTINGS,
    TENSORS,
    LoopSettings,
    LoopTensors,
)

_N = len(LoopTensors._fields)
DIFFERENTIABLE = (
    "image",
    "kernel",
    "back_kernel",
    "estimate",
    "previous",
    "change",
    "background_map",
)


def _embed(grad: Tensor, shape: Sequence[int], offset: Sequence[int]) -> Tensor:
    """A gradient where the image is, in the window of the estimate; zero around it."""
    out = grad.new_zeros(shape)
    cut = [slice(-o, n - o) for o, n in zip(offset, grad.shape[1:], strict=True)]
    out[(slice(None), *cut)] = grad
    return out


def _walk_back(loop: Iteration, start: State, grad: State) -> State:
    """Gradients in the state that the loop starts from, given those in its last one."""
    t, s = loop.tensors, loop.settings

    def advance(state: State, done: int, count: int) -> State:
        settings = s._replace(
            n_iters=count, first_iteration=s.first_iteration + done, resumable=True
        )
        given = t._replace(
            estimate=state.estimate,
            previous=state.previous if s.acceleration != "none" else None,
            change=state.change if s.acceleration == "biggs" else None,
        )
        run = BODIES[t.image.device.type]
        estimate, previous, change, _ = run(given, settings, loop.otf_back)
        return State(estimate, previous, change)

    segment = max(1, math.isqrt(s.n_iters))
    starts = [start]
    for done in range(0, s.n_iters - segment, segment):
        starts.append(advance(starts[-1], done, segment))
    while starts:
        done = (len(starts) - 1) * segment
        states = [starts.pop()]
        for i in range(done, min(done + segment, s.n_iters) - 1):
            states.append(advance(states[-1], i, 1))
        while states:
            iteration = s.first_iteration + done + len(states)
            grad = loop.back(states.pop(), iteration, grad)
    return grad


def _last_gradients(
    t: LoopTensors,
    s: LoopSettings,
    grad: Tensor | None,
    grad_previous: Tensor | None,
    grad_change: Tensor | None,
) -> State:
    """Gradients in the last state; what was not returned, or not used, has none."""

    def given(array: Tensor | None) -> Tensor:
        unused = array is None or array.numel() == 0
        return torch.zeros_like(t.estimate) if array is None or unused else array

    if grad is not None and not s.resumable:
        grad = _embed(grad, t.estimate.shape, s.estimate_offset)
    return State(given(grad), given(grad_previous), given(grad_change))


@operator(
    "richardson_lucy_backward",
    f"(Tensor? grad, Tensor? grad_previous, Tensor? grad_change, {TENSORS}, {SETTINGS}, "
    "bool needs_kernel, bool needs_back_kernel)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    device="CompositeExplicitAutograd",
)
def richardson_lucy_backward(
    grad: Tensor | None, grad_previous: Tensor | None, grad_change: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    """Gradients in DIFFERENTIABLE; those in kernels are empty unless needed."""
    *settings, needs_kernel, needs_back = rest[_N:]
    t, s = LoopTensors(*rest[:_N]), LoopSettings(*settings)
    loop = Iteration(t, s, needs_kernel, needs_back)
    start, to_given = loop.start()
    last = _last_gradients(t, s, grad, grad_previous, grad_change)
    first = to_given(_walk_back(loop, start, last))
    loop.finish_weight()
    nothing = t.image.new_empty((0,))
    kernel, back, background = loop.grad_kernel, loop.grad_back_kernel, loop.grad_background
    return (
        loop.grad_image,
        nothing if kernel is None else kernel,
        nothing.clone() if back is None else back,
        *first,
        nothing.clone() if background is None else background,
    )


@register_fake("richardson_lucy_backward")
def _(grad: Any, grad_previous: Any, grad_change: Any, *rest: Any) -> tuple[Tensor, ...]:
    t, (needs_kernel, needs_back) = LoopTensors(*rest[:_N]), rest[-2:]

    def like(array: Tensor, present: bool = True) -> Tensor:
        return t.image.new_empty(array.shape if present else (0,))

    return (
        like(t.image),
        like(t.kernel, needs_kernel),
        like(t.kernel, needs_back and t.back_kernel is not None),
        like(t.estimate),
        like(t.estimate),
        like(t.estimate),
        like(t.image, t.background_map is not None),
    )


def _no_second(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(
        "richardson_lucy: gradients must not be differentiated again, got a second derivative; "
        "otfuse.reference.richardson_lucy has one"
    )


register_autograd("richardson_lucy_backward", _no_second, lambda ctx, inputs, output: None)
