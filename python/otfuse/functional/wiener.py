# SPDX-License-Identifier: BSD-3-Clause
"""The linear inverse, damped."""

from __future__ import annotations

from typing import Any

import torch

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype
from otfuse.functional._geometry import reflect_pad
from otfuse.functional.otf import spatial_ndim
from otfuse.functional.plan import reflected_widths


def wiener(
    image: Any, psf: Any, *, balance: float, boundary: str = "reflect", ndim: int | None = None
) -> Any:
    """Wiener deconvolution: F^-1( conj(H) F image / (|H|^2 + balance) ).

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx)
        Finite real numbers; integers are computed in float32.
    psf : array, shape (..., kz, ky, kx)
        Centre at k // 2; its sum scales the result. Leading axes broadcast against the image's.
    balance : float
        Noise to signal ratio of the spectrum; positive. Larger is smoother.
    boundary : {"reflect", "circular"}
        "reflect" pads the image by reflection, far enough for the psf.
    ndim : int, optional
        Number of spatial axes (1 to 3), by default that of `psf`.

    Returns
    -------
    array, shape of `image`
        The kind of `image`; may be negative. Differentiable in image and psf.

    Raises
    ------
    ValueError
        If balance is not positive, shapes do not fit, values are not finite, devices differ.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Wiener 1949.
    """
    _checks.one_of("wiener", "boundary", boundary, ("reflect", "circular"))
    balance = _checks.finite_number("wiener", "balance", balance)
    if balance <= 0:
        raise ValueError(f"wiener: balance must be positive, got {balance:g}")
    y, h = to_tensor("wiener", "image", image), to_tensor("wiener", "psf", psf)
    ndim = spatial_ndim("wiener", h, ndim)
    _checks.same_device("wiener", "psf", h, y)
    _checks.spatial_axes("wiener", "image", y, ndim)
    y = y.to(working_dtype(y))
    h = h.to(y.dtype)
    for name, array in (("image", y), ("psf", h)):
        if _checks.values_visible(array):
            _checks.finite_values("wiener", name, array)
    shape, psf_shape = y.shape[-ndim:], h.shape[-ndim:]
    window: tuple[slice, ...] = tuple(slice(0, n) for n in shape)
    if boundary == "reflect":
        widths = reflected_widths(shape, psf_shape)
        y = reflect_pad(y, widths)
        window = tuple(slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True))
    else:
        _checks.fits("wiener", psf_shape, shape)
    axes, grid = tuple(range(-ndim, 0)), y.shape[-ndim:]
    shift = [-(k // 2) for k in psf_shape]
    padding = [p for n, k in zip(grid[::-1], psf_shape[::-1], strict=True) for p in (0, n - k)]
    kernel = torch.nn.functional.pad(h, padding).roll(shift, axes)
    otf = torch.fft.rfftn(kernel, dim=axes)
    spectrum = torch.fft.rfftn(y, dim=axes) * otf.conj() / (otf.abs().square() + balance)
    out = torch.fft.irfftn(spectrum, s=grid, dim=axes)[(..., *window)]
    return back_to_kind(image)(out)
