# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::fft_convolve(image, kernel, ...): out = crop(kernel * image) on a periodic grid.

Bilinear: the adjoint in `image` is the same op with `adjoint` flipped and the windows exchanged,
and the gradient in `kernel` is the same op again with `image` as the kernel, so every order of
differentiation is this one op. `otf` is the kernel's spectrum where it was made before; it
carries no gradient of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._device import built_kernels, otf_size
from otfuse.ops._fields import engine_grid, field, is_double, on_huge_pages, triple
from otfuse.ops._registry import (
    operator,
    register_autocast_float32,
    register_autograd,
    register_fake,
    register_vmap,
)
from otfuse.ops._vmap import fold_kernels, mapped_first


class Windows(NamedTuple):
    """Where image, kernel and result lie on the periodic grid."""

    grid: Sequence[int]
    padded: bool  # the grid may be larger: zeros keep what wraps around from what is wanted
    image_offset: Sequence[int]
    kernel_offset: Sequence[int]
    out_offset: Sequence[int]
    out_shape: Sequence[int]

    def back(self, image_shape: Sequence[int]) -> Windows:
        """Image and result exchanged: the adjoint's."""
        return self._replace(
            image_offset=self.out_offset, out_offset=self.image_offset, out_shape=image_shape
        )


_WINDOWS = (
    "SymInt[] grid, bool padded, SymInt[] image_offset, SymInt[] kernel_offset, "
    "SymInt[] out_offset, SymInt[] out_shape"
)


@operator(
    "make_otf", "(Tensor kernel, SymInt[] grid, bool padded, SymInt[] kernel_offset) -> Tensor"
)
def make_otf(
    kernel: Tensor, grid: Sequence[int], padded: bool, kernel_offset: Sequence[int]
) -> Tensor:
    """Spectra (kernels, size) of kernels (kernels, spatial...), in the engine's private order."""
    grid = engine_grid(grid, padded)
    double, extents = is_double(kernel), triple(grid, 1)
    otf = on_huge_pages(kernel.new_empty((kernel.shape[0], _C.otf_size(double, extents))))
    _C.make_otf_cpu(
        double,
        extents,
        kernel.shape[0],
        field(kernel, kernel_offset, grid),
        otf.data_ptr(),
        torch.get_num_threads(),
    )
    return otf


@register_fake("make_otf")
def _(kernel: Tensor, grid: Sequence[int], padded: bool, kernel_offset: Sequence[int]) -> Tensor:
    # The size depends on the instruction set, but is known as soon as the grid is.
    size: int | torch.SymInt
    if all(isinstance(n, int) for n in grid):
        extents = engine_grid(grid, padded)
        if kernel.device.type == "cuda":
            size = otf_size(built_kernels(), extents)
        else:
            size = _C.otf_size(kernel.dtype == torch.float64, triple(extents, 1))
    else:
        size = torch.library.get_ctx().new_dynamic_size()
    return kernel.new_empty((kernel.shape[0], size))


@operator(
    "fft_convolve",
    f"(Tensor image, Tensor kernel, Tensor? otf, SymInt inner, {_WINDOWS}, bool adjoint) -> Tensor",
)
def fft_convolve(
    image: Tensor, kernel: Tensor, otf: Tensor | None, inner: int, *windows_adjoint: Any
) -> Tensor:
    """Item b of image (batch, spatial...) with kernel (b // inner) % kernels."""
    *windows, adjoint = windows_adjoint
    w = Windows(*windows)
    if otf is None:
        otf = make_otf(kernel, w.grid, w.padded, w.kernel_offset)
    out = on_huge_pages(image.new_empty((image.shape[0], *w.out_shape)))
    _convolve(image, otf, (kernel.shape[0], inner), w, adjoint, out)
    return out


def _convolve(
    image: Tensor,
    otf: Tensor,
    kernels: tuple[int, int],
    w: Windows,
    adjoint: bool,
    out: Tensor,
    *adding: Any,
) -> None:
    """By the core; `kernels` are their number and `inner`, `adding` is shares and True."""
    grid = engine_grid(w.grid, w.padded)
    _C.fft_convolve_cpu(
        is_double(image),
        triple(grid, 1),
        image.shape[0],
        field(image, w.image_offset, grid),
        otf.data_ptr(),
        *kernels,
        field(out, w.out_offset, grid),
        adjoint,
        torch.get_num_threads(),
        *adding,
    )


@operator(
    "fft_convolve_add",
    f"(Tensor image, Tensor otf, Tensor[] shares, {_WINDOWS}, bool adjoint, Tensor(a!) out) -> ()",
)
def fft_convolve_add(image: Tensor, otf: Tensor, shares: Sequence[Tensor], *rest: Any) -> None:
    """Add to `out` the convolution with one kernel of the image times its shares.

    With `adjoint` the shares are of the result. They are products of a line for each of the axes
    z, y and x, or all of it where no line is given. On the CPU; no derivative.
    """
    *windows, adjoint, out = rest
    lines = [line.contiguous() for line in shares]
    z, y, x = [line.data_ptr() for line in lines] or [0] * 3
    _convolve(image, otf, (1, 1), Windows(*windows), adjoint, out, (z, y, x), True)


@register_fake("fft_convolve_add")
def _(image: Tensor, *rest: Any) -> None:
    pass


@register_fake("fft_convolve")
def _(image: Tensor, kernel: Tensor, otf: Tensor | None, inner: int, *rest: Any) -> Tensor:
    return image.new_empty((image.shape[0], *Windows(*rest[:-1]).out_shape))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, kernel, otf, ctx.inner, *windows, ctx.adjoint = inputs
    ctx.save_for_backward(image, kernel, otf)
    ctx.windows = Windows(*windows)


def kernel_gradient(
    grad: Tensor, image: Tensor, kernel: Tensor, inner: int, w: Windows, adjoint: bool
) -> Tensor:
    """Gradient of fft_convolve in `kernel`, given that of its result."""
    first, second = (grad, w.out_offset), (image, w.image_offset)
    if adjoint:
        first, second = second, first
    shape = kernel.shape[1:]
    windows = (w.grid, w.padded, first[1], second[1], w.kernel_offset, shape)
    per_item = fft_convolve(first[0], second[0], None, 1, *windows, True)
    return per_item.reshape(-1, kernel.shape[0], inner, *shape).sum((0, 2))


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    image, kernel, otf = ctx.saved_tensors
    grad_image = grad_kernel = None
    if ctx.needs_input_grad[0]:
        back = ctx.windows.back(image.shape[1:])
        grad_image = fft_convolve(grad, kernel, otf, ctx.inner, *back, not ctx.adjoint)
    if ctx.needs_input_grad[1]:
        grad_kernel = kernel_gradient(grad, image, kernel, ctx.inner, ctx.windows, ctx.adjoint)
    return grad_image, grad_kernel, *([None] * 9)


def _vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
    image, kernel, otf, inner, *rest = args
    image = mapped_first(image, in_dims[0], info.batch_size)
    batch = image.shape[1]
    kernel, otf, inner = fold_kernels(kernel, otf, inner, in_dims[1:3], batch)
    out = fft_convolve(image.flatten(0, 1), kernel, otf, inner, *rest)
    return out.unflatten(0, (info.batch_size, batch)), 0


register_autograd("fft_convolve", _backward, _setup_context)
register_autocast_float32("fft_convolve")
register_vmap("fft_convolve", _vmap)
