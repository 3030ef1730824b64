# SPDX-License-Identifier: BSD-3-Clause
"""Drop-in cross-correlations of `torch.nn.functional`, by FFT on the padded extent of the input."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import torch
from torch import Tensor

from . import _grids as grids

Extents = int | Sequence[int]


def _each(value: Extents, ndim: int) -> tuple[int, ...]:
    """Return one value per axis."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * ndim if len(values) == 1 else values


def _widths(
    padding: str | Extents, reaches: tuple[int, ...], ndim: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the zeros before and after each axis; "same" puts the odd one after, as torch does."""
    if padding == "valid":
        padding = 0
    if padding == "same":
        before = tuple(reach // 2 for reach in reaches)
        return before, tuple(r - b for r, b in zip(reaches, before, strict=True))
    if isinstance(padding, str):
        raise ValueError(
            f"fft_conv{ndim}d: padding must be 'same', 'valid' or numbers, got {padding!r}"
        )
    return _each(padding, ndim), _each(padding, ndim)


def _every(steps: tuple[int, ...]) -> tuple[EllipsisType | slice, ...]:
    """Return the index that takes every so many voxels along each of the last axes."""
    return (..., *(slice(None, None, step) for step in steps))


def _dilated(weight: Tensor, dilation: tuple[int, ...]) -> Tensor:
    """Return the kernel with `dilation - 1` zeros between its neighbouring taps."""
    extents = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    spread = weight.new_zeros([*weight.shape[:2], *extents])
    spread[_every(dilation)] = weight
    return spread


def _correlate(image: Tensor, weight: Tensor, groups: int, ndim: int) -> Tensor:
    """Return the "valid" grouped correlation of a padded image with a dilated kernel."""
    grid, kernel = grids.spatial(image, ndim), grids.spatial(weight, ndim)
    spectra = torch.fft.rfftn(image, dim=grids.axes(ndim))
    transfer = grids.spectrum(weight, grid, centred=False).conj()
    spectra = spectra.reshape(len(image), groups, -1, *spectra.shape[2:])
    transfer = transfer.reshape(groups, -1, *transfer.shape[1:])
    product = torch.einsum("bgi...,goi...->bgo...", spectra, transfer).flatten(1, 2)
    full = torch.fft.irfftn(product, s=grid, dim=grids.axes(ndim))
    extents = tuple(n - k + 1 for n, k in zip(grid, kernel, strict=True))
    return grids.crop(full, (0,) * ndim, extents)


def _fft_conv(
    ndim: int,
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Extents,
    padding: str | Extents,
    dilation: Extents,
    groups: int,
) -> Tensor:
    image = grids.working(image)
    weight = _dilated(torch.as_tensor(weight).to(image.dtype), _each(dilation, ndim))
    batched = image if image.ndim == ndim + 2 else image.unsqueeze(0)
    before, after = _widths(padding, tuple(k - 1 for k in weight.shape[2:]), ndim)
    shape = grids.spatial(batched, ndim)
    grid = tuple(b + n + a for b, n, a in zip(before, shape, after, strict=True))
    out = _correlate(grids.place(batched, before, grid), weight, groups, ndim)
    out = out[_every(_each(stride, ndim))]
    if bias is not None:
        out = out + bias.reshape(-1, *(1,) * ndim)
    return out if image.ndim == ndim + 2 else out.squeeze(0)


def fft_conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: str | Extents = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """Return what `torch.nn.functional.conv1d` returns."""
    return _fft_conv(1, input, weight, bias, stride, padding, dilation, groups)


def fft_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: str | Extents = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """Return what `torch.nn.functional.conv2d` returns."""
    return _fft_conv(2, input, weight, bias, stride, padding, dilation, groups)


def fft_conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: str | Extents = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """Return what `torch.nn.functional.conv3d` returns."""
    return _fft_conv(3, input, weight, bias, stride, padding, dilation, groups)
