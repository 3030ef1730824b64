# SPDX-License-Identifier: BSD-3-Clause
"""Convolution on a periodic grid by torch.fft, for grids that the kernels have no passes for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def place(array: Tensor, offset: Sequence[int], grid: Sequence[int]) -> Tensor:
    """The array on the grid, zeros around it; its first element at `offset`, modulo the grid."""
    widths = [w for n, m in zip(grid[::-1], array.shape[:0:-1], strict=True) for w in (0, n - m)]
    axes = tuple(range(1, array.ndim))
    return torch.nn.functional.pad(array, widths).roll(tuple(offset), axes)


def cut(array: Tensor, offset: Sequence[int], shape: Sequence[int]) -> Tensor:
    """The window of the grid that begins at `offset`."""
    axes = tuple(range(1, array.ndim))
    window = tuple(slice(0, n) for n in shape)
    return array.roll(tuple(-o for o in offset), axes)[(slice(None), *window)]


def spectra(array: Tensor) -> Tensor:
    """Half spectra over all axes but the first."""
    return torch.fft.rfftn(array, dim=tuple(range(1, array.ndim)))


def multiply(array: Tensor, otf: Tensor, inner: int, adjoint: bool) -> Tensor:
    """Arrays (batch, grid...) convolved with the kernels of `otf` (kernels, half spectrum...).

    Item b goes with kernel (b // inner) % kernels. The result is contiguous.
    """
    transfer = otf.conj() if adjoint else otf
    product = spectra(array).contiguous()  # or folding would copy it
    folded = product.reshape(-1, otf.shape[0], inner, *otf.shape[1:])
    folded *= transfer.unsqueeze(1)
    grid = array.shape[1:]
    return torch.fft.irfftn(product, s=grid, dim=tuple(range(1, array.ndim))).contiguous()


def as_spectra(otf: Tensor, grid: Sequence[int]) -> Tensor:
    """An OTF (kernels, size) of reals as (kernels, half spectrum...)."""
    half = (*grid[:-1], grid[-1] // 2 + 1)
    return torch.view_as_complex(otf.reshape(otf.shape[0], *half, 2))
