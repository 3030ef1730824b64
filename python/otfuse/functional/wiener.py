# SPDX-License-Identifier: BSD-3-Clause
"""The linear inverse, damped."""

from __future__ import annotations

from typing import Any

from otfuse.functional._inverse import damped_inverse, positive


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
    balance = positive("wiener", "balance", balance)
    return damped_inverse("wiener", image, psf, boundary, ndim, lambda _: balance)
