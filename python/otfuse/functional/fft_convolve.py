# SPDX-License-Identifier: BSD-3-Clause
"""Batched convolution with a PSF, its adjoint, and the gradients of both."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype
from otfuse.functional._geometry import Geometry, match_batch, psf_widths, reflect_fold, reflect_pad
from otfuse.functional.otf import Otf, convolution_geometry, spatial_ndim

_NAME = "fft_convolve"


def fft_convolve(
    image: Any,
    psf: Any,
    *,
    boundary: str | None = None,
    adjoint: bool = False,
    ndim: int | None = None,
) -> Any:
    """Convolution of images with a PSF through the FFT, or its exact adjoint.

    out[i] = sum_m psf[m] image[i - (m - k // 2)], with the indices of `image` taken modulo its
    extents ("circular"), reflected about its end values ("reflect"), or inside a larger image
    ("extended": n + k - 1 values give the n that the camera sees).

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx)
        Any finite real numbers; float32 and float64 are computed as such, others in float32.
    psf : array, shape (..., kz, ky, kx), or Otf
        Centre at k // 2; cast to the image's type. Leading axes broadcast against the image's.
    boundary : {"circular", "extended", "reflect"}
        "circular" and "reflect" keep the shape; "extended" maps n + k - 1 to n. By default
        "circular", or the Otf's own.
    adjoint : bool
        Apply the adjoint operator: correlation; with "extended" it maps n to n + k - 1.
    ndim : int, optional
        Number of spatial axes (1 to 3), by default that of `psf`.

    Returns
    -------
    array
        The kind of `image`. Differentiable twice in image and psf. Adjoint: `adjoint=True`.

    Raises
    ------
    ValueError
        If shapes do not fit, an axis is empty, devices differ, or values are not finite (on a
        CUDA device nobody looks at them: that would have to wait for it).
    TypeError
        If an array is complex or does not hold numbers.
    """
    x = to_tensor(_NAME, "image", image)
    x = x.to(working_dtype(x))
    if isinstance(psf, Otf):
        otf = psf
        kernel, ndim = otf.psf, otf.ndim
        boundary = otf.boundary if boundary is None else boundary
        if boundary != otf.boundary:
            raise ValueError(
                f"{_NAME}: boundary must be the Otf's own {otf.boundary!r}, got {boundary!r}; "
                "leave it out or make another Otf"
            )
    else:
        otf, kernel = None, to_tensor(_NAME, "psf", psf).to(x.dtype)
        boundary = "circular" if boundary is None else boundary
        ndim = spatial_ndim(_NAME, kernel, ndim)
    _checks.same_device(_NAME, "psf", kernel, x)
    _checks.spatial_axes(_NAME, "image", x, ndim)
    geometry = _geometry_of(x, kernel, boundary, adjoint, ndim, otf)
    out = _apply(x, kernel.to(x.dtype), otf, geometry, boundary, adjoint)
    _check_finite(out, x, kernel, ndim)
    return back_to_kind(image)(out)


def _check_finite(out: Tensor, image: Tensor, psf: Tensor, ndim: int) -> None:
    """One bad value spoils every value of its item, so the first value of each item tells."""
    if not _checks.values_at_hand(out) or out.numel() == 0:
        return
    if math.isfinite(out.detach().flatten(-ndim)[..., 0].sum().item()):
        return
    _checks.finite_values(_NAME, "image", image)
    _checks.finite_values(_NAME, "psf", psf)


def _geometry_of(
    image: Tensor, psf: Tensor, boundary: str, adjoint: bool, ndim: int, otf: Otf | None
) -> Geometry:
    shape, psf_shape = tuple(image.shape[-ndim:]), tuple(psf.shape[-ndim:])
    if boundary == "extended" and not adjoint:
        if any(n < k for n, k in zip(shape, psf_shape, strict=True)):
            raise ValueError(
                f"{_NAME}: image must be at least as large as the psf with boundary 'extended', "
                f"got image {tuple(shape)} and psf {tuple(psf_shape)}; "
                "it is n + k - 1 values that give n"
            )
        shape = tuple(n - k + 1 for n, k in zip(shape, psf_shape, strict=True))
    if otf is None:
        return convolution_geometry(_NAME, boundary, shape, psf_shape)
    if tuple(shape) != otf.shape:
        raise ValueError(
            f"{_NAME}: image must fit the Otf, made for shape {otf.shape}, got {tuple(shape)}"
        )
    return otf.geometry


def _apply(
    image: Tensor, psf: Tensor, otf: Otf | None, g: Geometry, boundary: str, adjoint: bool
) -> Tensor:
    ndim, widths = len(g.grid), psf_widths(g.psf_shape)
    if boundary == "reflect" and not adjoint:
        image = reflect_pad(image, widths)
    batch = match_batch(_NAME, image, psf, ndim)
    # A traced call makes the spectrum in the op: no graph sees whether the kept one is still right.
    kept = otf is not None and otf.psf.dtype == image.dtype and not torch.compiler.is_compiling()
    spectrum = otf.spectrum if otf is not None and kept else None
    around, inside = (g.estimate_offset, g.estimate_shape), (g.origin, g.image_shape)
    source, target = (inside, around) if adjoint else (around, inside)
    windows = (g.grid, g.padded, source[0], g.psf_offset, target[0], target[1])
    out = ops.fft_convolve(batch.image, batch.psf, spectrum, batch.inner, *windows, adjoint)
    out = batch.unflatten(out)
    if boundary == "reflect" and adjoint:
        out = reflect_fold(out, widths)
    return out
