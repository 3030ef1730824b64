# SPDX-License-Identifier: BSD-3-Clause
"""Vector-Jacobian product of the Richardson-Lucy loop with about 2 sqrt(n_iters) states kept.

A first run keeps every sqrt(n)-th estimate; each segment is then run again, its estimates kept,
and walked backwards (Griewank & Walther 2000). One iteration, with p the accelerated estimate,
    m = H p + b,  r = y / max(m, floor),  c = H^T r,  x' = p c W,
turns the gradient g of x' into
    g_p = g c W + H^T(g_m),  g_c = g p W,  g_r = H g_c,  g_m = -g_r r / m,  g_y = g_r / m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from otfuse.ops._registry import operator, register_fake
from otfuse.ops.fft_convolve import Windows, fft_convolve, kernel_gradient, make_otf
from otfuse.ops.richardson_lucy_loop import SETTINGS, TENSORS, LoopSettings, run_loop

_LEAST_WEIGHT = 0.01  # kLeastWeight of csrc/cpu/richardson_lucy.hpp


@dataclass
class _State:
    """Estimate and, with momentum, the one before it."""

    estimate: Tensor
    previous: Tensor


class _Loop:
    """The loop's fixed parts, and one iteration of it backwards."""

    def __init__(
        self,
        image: Tensor,
        kernel: Tensor,
        otf: Tensor,
        estimate_shape: Sequence[int],
        floor: Tensor,
        settings: LoopSettings,
        needs_kernel: bool,
    ) -> None:
        self.image, self.kernel, self.otf, self.settings = image, kernel, otf, settings
        self.floor = floor.reshape(-1, *[1] * (image.ndim - 1))
        grid, origin = settings.grid, [0] * len(settings.grid)
        self.blurring = Windows(
            grid,
            settings.padded,
            settings.estimate_offset,
            settings.kernel_offset,
            origin,
            image.shape[1:],
        )
        self.returning = self.blurring.back(estimate_shape)
        self.observed = (image >= 0).to(image.dtype)
        self.grad_image = torch.zeros_like(image)
        self.grad_kernel = torch.zeros_like(kernel) if needs_kernel else None
        self.weight = image.new_ones(())
        self.grad_weight = image.new_zeros(())
        if settings.weighted:
            light = self.back(self.observed)
            self.weight = torch.where(light > _LEAST_WEIGHT, 1 / light, 0)

    def blur(self, x: Tensor) -> Tensor:
        return fft_convolve(x, self.kernel, self.otf, self.settings.inner, *self.blurring, False)

    def back(self, x: Tensor) -> Tensor:
        return fft_convolve(x, self.kernel, self.otf, self.settings.inner, *self.returning, True)

    def add_kernel_gradient(self, grad: Tensor, of: Tensor, adjoint: bool) -> None:
        if self.grad_kernel is None:
            return
        windows = self.returning if adjoint else self.blurring
        inner = self.settings.inner
        self.grad_kernel += kernel_gradient(grad, of, self.kernel, inner, windows, adjoint)

    def step_back(self, before: _State, iteration: int, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient in the estimate that entered an iteration, and in the one before that."""
        x, floor = before.estimate, self.floor
        momentum = self.settings.momentum
        step = (iteration - 1) / (iteration + 2) if momentum else 0.0
        p, moved = x, x.new_ones(())
        if momentum:
            leap = x + step * (x - before.previous)
            inside = (self.weight > 0).to(x.dtype)
            moved = inside * (leap > floor)
            p = inside * leap.maximum(floor)
        expected = self.blur(p) + self.settings.background
        above = (expected > floor).to(x.dtype)
        expected = expected.maximum(floor)
        ratio = self.observed * self.image / expected
        # What is negative is rounding: it goes, but the derivative is that of the equation.
        correction = self.back(ratio).clamp(min=0)

        grad_correction = grad * p * self.weight
        if self.settings.weighted:
            self.grad_weight = self.grad_weight + grad * p * correction
        self.add_kernel_gradient(grad_correction, ratio, True)
        grad_ratio = self.blur(grad_correction) * self.observed
        self.grad_image += grad_ratio / expected
        grad_expected = -grad_ratio * ratio / expected * above
        self.add_kernel_gradient(grad_expected, p, False)
        grad_p = (grad * correction * self.weight + self.back(grad_expected)) * moved
        return (1 + step) * grad_p, -step * grad_p

    def finish_weight(self) -> None:
        """W = 1 / H^T 1 depends on the kernel too."""
        if self.settings.weighted:
            self.add_kernel_gradient(-self.grad_weight * self.weight.square(), self.observed, True)


def _embed(grad: Tensor, shape: Sequence[int], offset: Sequence[int]) -> Tensor:
    """A gradient where the image is, in the window of the estimate; zero around it."""
    out = grad.new_zeros(shape)
    cut = [slice(-o, n - o) for o, n in zip(offset, grad.shape[1:], strict=True)]
    out[(slice(None), *cut)] = grad
    return out


def _walk_back(
    loop: _Loop, start: _State, previous_given: bool, grad: Tensor, behind: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients in the estimate and the previous one that the loop starts from."""
    s, floor = loop.settings, loop.floor.flatten()

    def advance(state: _State, done: int, count: int) -> _State:
        settings = s._replace(
            n_iters=count, first_iteration=s.first_iteration + done, resumable=True
        )
        given = (loop.image, loop.kernel, loop.otf, state.estimate, state.previous, floor)
        estimate, previous, _ = run_loop(*given, settings)
        return _State(estimate, previous if s.momentum else state.previous)

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
            at, before = loop.step_back(states.pop(), iteration, grad)
            grad, behind = at + behind, before
    if not previous_given:  # it was the estimate itself
        grad, behind = grad + behind, torch.zeros_like(behind)
    return grad, behind


@operator(
    "richardson_lucy_backward",
    f"(Tensor? grad, Tensor? grad_previous, {TENSORS}, {SETTINGS}, bool needs_kernel)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    device="CompositeExplicitAutograd",
)
def richardson_lucy_backward(
    grad: Tensor | None,
    grad_previous: Tensor | None,
    image: Tensor,
    kernel: Tensor,
    otf: Tensor | None,
    estimate: Tensor,
    previous: Tensor | None,
    floor: Tensor,
    *settings_needs: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients in image, kernel (empty unless needed), estimate and previous."""
    *settings, needs_kernel = settings_needs
    s = LoopSettings(*settings)
    if otf is None:
        otf = make_otf(kernel, s.grid, s.padded, s.kernel_offset)
    loop = _Loop(image, kernel, otf, estimate.shape[1:], floor, s, needs_kernel)
    if grad is None:
        grad = torch.zeros_like(estimate)
    elif not s.resumable:
        grad = _embed(grad, estimate.shape, s.estimate_offset)
    if grad_previous is None or grad_previous.numel() == 0:  # nothing of it was returned
        behind = torch.zeros_like(estimate)
    else:
        behind = grad_previous
    inside = (loop.weight > 0).to(image.dtype)
    start = _State(estimate * inside, estimate if previous is None else previous)
    grad, behind = _walk_back(loop, start, previous is not None, grad, behind)
    loop.finish_weight()
    grad_kernel = kernel.new_empty((0,)) if loop.grad_kernel is None else loop.grad_kernel
    return loop.grad_image, grad_kernel, grad * inside, behind * inside


@register_fake("richardson_lucy_backward")
def _(
    grad: Tensor | None,
    grad_previous: Tensor | None,
    image: Tensor,
    kernel: Tensor,
    otf: Tensor | None,
    estimate: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_kernel = kernel.new_empty(kernel.shape if rest[-1] else (0,))
    around = estimate.new_empty(estimate.shape)
    return image.new_empty(image.shape), grad_kernel, around, torch.empty_like(around)
