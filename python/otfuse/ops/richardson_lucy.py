# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::richardson_lucy: the whole loop; differentiable in every tensor but floor and judged.

The backward pass is an op of its own (ops/richardson_lucy_backward.py), opaque to tracing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import triple
from otfuse.ops._registry import (
    operator,
    register_autocast_float32,
    register_autograd,
    register_fake,
    register_vmap,
)
from otfuse.ops._vmap import fold_kernels, mapped_first
from otfuse.ops.richardson_lucy_backward import DIFFERENTIABLE, richardson_lucy_backward
from otfuse.ops.richardson_lucy_loop import (
    SETTINGS,
    TENSORS,
    LoopSettings,
    LoopTensors,
    empty_results,
    run_loop,
)
from otfuse.ops.system import thread_count

_N = len(LoopTensors._fields)


@operator("richardson_lucy", f"({TENSORS}, {SETTINGS}) -> (Tensor, Tensor, Tensor, Tensor)")
def richardson_lucy(*arguments: Any) -> tuple[Tensor, ...]:
    """Estimate, previous, change and I-divergence (batch, n_iters) after n_iters iterations.

    A resumable run returns its state in the estimate's window and the I-divergence; another
    returns the estimate where the image is, and empty tensors.
    """
    return run_loop(LoopTensors(*arguments[:_N]), LoopSettings(*arguments[_N:]))


@register_fake("richardson_lucy")
def _(*arguments: Any) -> tuple[Tensor, ...]:
    t = LoopTensors(*arguments[:_N])
    return tuple(empty_results(t.image, t.estimate, LoopSettings(*arguments[_N:])))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:_N])
    ctx.settings = inputs[_N:]
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any,
    grad: Tensor | None,
    grad_previous: Tensor | None,
    grad_change: Tensor | None,
    _: Tensor | None,
) -> tuple[Tensor | None, ...]:
    grads: list[Tensor | None] = [None] * (_N + len(ctx.settings))
    given = (grad, grad_previous, grad_change)
    if all(g is None for g in given):
        return tuple(grads)
    needs = ctx.needs_input_grad
    kernel, back = (needs[LoopTensors._fields.index(n)] for n in ("kernel", "back_kernel"))
    found = richardson_lucy_backward(*given, *ctx.saved_tensors, *ctx.settings, kernel, back)
    for name, value in zip(DIFFERENTIABLE, found, strict=True):
        place = LoopTensors._fields.index(name)
        if needs[place]:
            grads[place] = value
    return tuple(grads)


def _vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
    t, s, size = LoopTensors(*args[:_N]), LoopSettings(*args[_N:]), info.batch_size
    dims: dict[str, int | None] = dict(zip(t._fields, in_dims, strict=False))
    batch = mapped_first(t.image, dims["image"], size).shape[1]

    def fold(name: str) -> Tensor | None:
        array: Tensor | None = getattr(t, name)
        return None if array is None else mapped_first(array, dims[name], size).flatten(0, 1)

    kernel, back, at, back_at = t.kernel, t.back_kernel, dims["kernel"], dims["back_kernel"]
    if back is not None and (at is None) != (back_at is None):  # both or neither
        kernel, back = mapped_first(kernel, at, size), mapped_first(back, back_at, size)
        at = back_at = 0
    if back is not None:
        back, _, _ = fold_kernels(back, None, s.inner, (back_at, None), batch)
    kernel, otf, inner = fold_kernels(kernel, t.otf, s.inner, (at, dims["otf"]), batch)
    kernels = {"kernel": kernel, "otf": otf, "back_kernel": back}
    tensors = [kernels[name] if name in kernels else fold(name) for name in t._fields]
    out = richardson_lucy(*tensors, *s._replace(inner=inner))
    split = [
        a.expand(size, 0) if a.ndim == 1 else a.reshape(size, batch, *a.shape[1:]) for a in out
    ]
    return tuple(split), (0,) * len(split)


def richardson_lucy_bytes(
    grid: Sequence[int],
    image_shape: Sequence[int],
    *,
    double: bool,
    acceleration: str,
    weighted: bool,
    unmatched: bool = False,
    tv: bool = False,
    mapped: bool = False,
    judged: bool = False,
    threads: int | None = None,
    device: str = "cpu",
) -> int:
    """Bytes that the loop of one image takes, its OTFs and the threads' buffers included."""
    on_cpu = device == "cpu"
    count = _C.richardson_lucy_bytes_cpu if on_cpu else _C.richardson_lucy_bytes_cuda
    return count(
        double,
        triple(grid, 1),
        1,
        1,
        triple(image_shape, 1),
        acceleration,
        weighted,
        unmatched,
        tv,
        mapped,
        judged,
        thread_count(threads),
    )


register_autograd("richardson_lucy", _backward, _setup_context)
register_autocast_float32("richardson_lucy")
register_vmap("richardson_lucy", _vmap)
