# SPDX-License-Identifier: BSD-3-Clause
"""The linear inverse that penalises the object, its gradient or its Laplacian."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import _grids as grids


def _penalty(grid: tuple[int, ...], edges: Sequence[float], psf: Tensor) -> Tensor:
    """Return `sum_i |1 - exp(2 pi i k_i)|^2 / d_i^2`, from the differences' own spectra."""
    total = torch.zeros((), dtype=psf.dtype, device=psf.device)
    for axis, edge in enumerate(edges):
        difference = psf.new_zeros(grid)
        difference[(0,) * len(grid)] = 1.0 / edge
        step = difference.roll(1, axis)
        half = torch.fft.rfftn(difference - step, dim=grids.axes(len(grid)))
        total = total + half.real.square() + half.imag.square()
    return total


def tikhonov(
    image: Tensor,
    psf: Tensor,
    *,
    strength: float,
    order: int = 2,
    voxel: Sequence[float] | None = None,
    boundary: str = "reflect",
    ndim: int | None = None,
) -> Tensor:
    """Return `irfft(conj(H) X / (|H|^2 + strength s^order))`; see `otfuse.tikhonov`."""
    image, psf, ndim = grids.pair(image, psf, ndim)
    shape = grids.spatial(image, ndim)
    before = after = (0,) * ndim
    if boundary == "reflect":
        before, after = grids.smooth_margins(shape, psf)
    elif boundary != "circular":
        raise ValueError(f"tikhonov: boundary must be 'circular' or 'reflect', got {boundary!r}")
    padded = grids.pad_reflect(image, before, after)
    grid = grids.spatial(padded, ndim)
    edges = [1.0] * ndim if voxel is None else [edge / min(voxel) for edge in voxel]
    otf = grids.spectrum(psf, grid, centred=True)
    power = otf.real.square() + otf.imag.square()
    inverse = otf.conj() / (power + strength * _penalty(grid, edges, psf) ** order)
    return grids.crop(grids.multiply(padded, inverse, grid), before, shape)
