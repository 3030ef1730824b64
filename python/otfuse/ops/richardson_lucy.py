# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::richardson_lucy: the whole loop; differentiable in image, kernel, estimate, previous.

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
from otfuse.ops.richardson_lucy_backward import richardson_lucy_backward
from otfuse.ops.richardson_lucy_loop import (
    SETTINGS,
    TENSORS,
    LoopSettings,
    empty_results,
    run_loop,
)
from otfuse.ops.system import thread_count


@operator("richardson_lucy", f"({TENSORS}, {SETTINGS}) -> (Tensor, Tensor, Tensor)")
def richardson_lucy(
    image: Tensor,
    kernel: Tensor,
    otf: Tensor | None,
    estimate: Tensor,
    previous: Tensor | None,
    floor: Tensor,
    *settings: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate, previous estimate and I-divergence (batch, n_iters) after n_iters iterations.

    image (batch, spatial...) lies at the grid's origin, negative where nothing was observed;
    estimate has a window of its own. A resumable run returns both estimates in that window and
    the I-divergence; another returns the estimate where the image is, and empty tensors.
    """
    return run_loop(image, kernel, otf, estimate, previous, floor, LoopSettings(*settings))


@register_fake("richardson_lucy")
def _(
    image: Tensor,
    kernel: Tensor,
    otf: Tensor | None,
    estimate: Tensor,
    previous: Tensor | None,
    floor: Tensor,
    *settings: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_results(image, estimate, LoopSettings(*settings))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.settings = inputs[6:]
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, grad: Tensor | None, grad_previous: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    grads: list[Tensor | None] = [None] * 17
    if grad is None and grad_previous is None:
        return tuple(grads)
    needs = ctx.needs_input_grad
    found = richardson_lucy_backward(
        grad, grad_previous, *ctx.saved_tensors, *ctx.settings, needs[1]
    )
    for place, value in zip((0, 1, 3, 4), found, strict=True):
        if needs[place]:
            grads[place] = value
    return tuple(grads)


def _vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], Any]:
    image, kernel, otf, estimate, previous, floor, *rest = args
    size, s = info.batch_size, LoopSettings(*rest)
    image, estimate, floor = (
        mapped_first(array, in_dims[place], size)
        for array, place in ((image, 0), (estimate, 3), (floor, 5))
    )
    if previous is not None:
        previous = mapped_first(previous, in_dims[4], size).flatten(0, 1)
    batch = image.shape[1]
    kernel, otf, inner = fold_kernels(kernel, otf, s.inner, in_dims[1:3], batch)
    out = richardson_lucy(
        image.flatten(0, 1),
        kernel,
        otf,
        estimate.flatten(0, 1),
        previous,
        floor.flatten(0, 1),
        *s._replace(inner=inner),
    )
    folded = [t.reshape(size, batch, *t.shape[1:]) if t.numel() else t.expand(size, 0) for t in out]
    return tuple(folded), (0, 0, 0)


def richardson_lucy_bytes(
    grid: Sequence[int],
    image_shape: Sequence[int],
    *,
    double: bool,
    momentum: bool,
    weighted: bool,
    threads: int | None = None,
) -> int:
    """Bytes that the loop of one image takes, its OTF and the threads' buffers included."""
    return _C.richardson_lucy_bytes_cpu(
        double,
        triple(grid, 1),
        1,
        1,
        triple(image_shape, 1),
        momentum,
        weighted,
        thread_count(threads),
    )


register_autograd("richardson_lucy", _backward, _setup_context)
register_autocast_float32("richardson_lucy")
register_vmap("richardson_lucy", _vmap)
