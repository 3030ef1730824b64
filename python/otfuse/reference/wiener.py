# SPDX-License-Identifier: BSD-3-Clause
"""The linear inverse with a constant noise-to-signal power ratio."""

from __future__ import annotations

from torch import Tensor

from . import _grids as grids


def wiener(
    image: Tensor,
    psf: Tensor,
    *,
    balance: float,
    boundary: str = "reflect",
    ndim: int | None = None,
) -> Tensor:
    """Return `irfft(conj(H) X / (|H|^2 + balance))`; see `otfuse.wiener`.

    "reflect" works on the grid that `richardson_lucy` pads to, and crops.
    """
    image, psf, ndim = grids.pair(image, psf, ndim)
    shape = grids.spatial(image, ndim)
    if boundary == "reflect":
        before, after = grids.smooth_margins(shape, psf)
    elif boundary == "circular":
        before = after = (0,) * ndim
    else:
        raise ValueError(f"wiener: boundary must be 'circular' or 'reflect', got {boundary!r}")
    padded = grids.pad_reflect(image, before, after)
    grid = grids.spatial(padded, ndim)
    otf = grids.spectrum(psf, grid, centred=True)
    inverse = otf.conj() / (otf.real.square() + otf.imag.square() + balance)
    return grids.crop(grids.multiply(padded, inverse, grid), before, shape)
