# SPDX-License-Identifier: BSD-3-Clause
"""Convolution with a PSF, and its adjoint, for three kinds of edges."""

from __future__ import annotations

from torch import Tensor

from . import _grids as grids
from ._blur import Blur


def fft_convolve(
    image: Tensor,
    psf: Tensor,
    *,
    boundary: str = "circular",
    adjoint: bool = False,
    ndim: int | None = None,
) -> Tensor:
    """Return the image blurred by the PSF; see `otfuse.fft_convolve`."""
    image, psf, ndim = grids.pair(image, psf, ndim)
    shape = grids.spatial(image, ndim)
    if boundary == "circular":
        blur = Blur.circular(psf, shape)
        return blur.adjoint(image) if adjoint else blur.forward(image)
    if boundary == "extended":
        if adjoint:
            return Blur.extended(psf, shape).adjoint(image)
        reach = grids.spatial(psf, ndim)
        seen = tuple(n - k + 1 for n, k in zip(shape, reach, strict=True))
        return Blur.extended(psf, seen).forward(image)
    if boundary == "reflect":
        before, after = grids.leads(psf, ndim), grids.centres(psf, ndim)
        blur = Blur.extended(psf, shape)
        if adjoint:
            return grids.fold_reflect(blur.adjoint(image), before, after)
        return blur.forward(grids.pad_reflect(image, before, after))
    raise ValueError(
        f"fft_convolve: boundary must be 'circular', 'extended' or 'reflect', got {boundary!r}"
    )
