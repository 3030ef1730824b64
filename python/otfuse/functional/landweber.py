# SPDX-License-Identifier: BSD-3-Clause
"""Least squares by projected gradient steps."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind
from otfuse.functional._blur import Blur
from otfuse.functional._iterate import first_estimate, with_momentum
from otfuse.functional._views import View, prepare

_NAME = "landweber"


def landweber(
    image: Any,
    psf: Any,
    n_iters: int = 30,
    *,
    relaxation: float = 1.0,
    nonnegative: bool = True,
    background: Any = 0.0,
    boundary: str = "extended",
    acceleration: str | None = None,
    mask: Any = None,
    init: Any = "image",
    ndim: int | None = None,
) -> Any:
    """The object that, blurred by the PSF, is nearest to the image (Gaussian noise).

    x <- P(p + t H^T(y - b - H p)) with t = relaxation / (sum |psf|)^2, P the projection on what
    is not negative, and p = x, or with acceleration "nesterov" p = x + (k-1)/(k+2) (x - x_before)
    in iteration k.

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx)
        Finite real numbers; integers are computed in float32.
    psf : array, shape (..., kz, ky, kx)
        Centre at k // 2, not zero everywhere; its sum scales the result. Leading axes broadcast
        against the image's.
    n_iters : int
        At least 1. More iterations restore more and amplify more noise.
    relaxation : float
        Length of the steps, above 0 and below 2; at most 1 with acceleration.
    nonnegative : bool
        Whether estimates are kept from going below zero.
    background : float or array
        Light that does not come from the object, in the image's unit; an array broadcasts
        against the image.
    boundary : {"extended", "circular", "reflect"}
        As in `richardson_lucy`.
    acceleration : {None, "nesterov"}
    mask : array, optional
        Broadcasts against `image`; zero where a pixel is saturated or dead.
    init : {"image", "mean"} or array
        Where to start: the image less background, its mean, or an array of the image's shape.
    ndim : int, optional
        Number of spatial axes (1 to 3), by default that of `psf`.

    Returns
    -------
    array, shape of `image` (broadcast against leading axes of `psf`)
        The kind of `image`. Differentiable in image, psf, init and an array of background, with
        memory that grows as `n_iters`.

    Raises
    ------
    ValueError
        If the psf is zero, relaxation is out of its range, values are not finite, shapes do not
        fit, devices differ, or an option is unknown.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Landweber 1951; Eicke 1992 (projection); Beck & Teboulle 2009 ("nesterov").
    """
    _checks.at_least(_NAME, "n_iters", n_iters, 1)
    _checks.one_of(_NAME, "acceleration", acceleration, (None, "nesterov"))
    relaxation = _checked_relaxation(relaxation, acceleration)
    view = View(image, psf, mask, background)
    job = prepare(_NAME, [view], boundary, ndim, counts=False)
    camera = job.cameras[0]
    blur = cast(Blur, camera.blur)
    length = relaxation / _norms(blur.psf, blur.inner, camera.image).square()
    least = 0.0 if nonnegative else None

    def step(p: Tensor) -> Tensor:
        missing = camera.only_seen(camera.image - camera.background - camera.blur.forward(p))
        moved = torch.addcmul(p, length, camera.blur.adjoint(missing))
        return moved if least is None else moved.clamp(min=least)

    start = first_estimate(_NAME, job, init, least)
    out = with_momentum(step, start, n_iters, acceleration is not None, None)
    return back_to_kind(image)(job.finish(out))


def _checked_relaxation(value: Any, acceleration: str | None) -> float:
    relaxation = _checks.finite_number(_NAME, "relaxation", value)
    if not 0 < relaxation < 2 or (acceleration is not None and relaxation > 1):
        raise ValueError(
            f"{_NAME}: relaxation must be above 0 and below 2, and at most 1 with acceleration, "
            f"got {relaxation:g}; longer steps need not converge"
        )
    return relaxation


def _norms(psf: Tensor, inner: int, image: Tensor) -> Tensor:
    """sum |psf| of each item's PSF, which no gain of the blur exceeds; spatial axes are kept."""
    sums = psf.abs().flatten(1).sum(1)
    if _checks.values_visible(sums) and bool((sums == 0).any()):
        raise ValueError(f"{_NAME}: psf must not be zero everywhere, got one that is")
    index = torch.arange(image.shape[0], device=psf.device) // inner % psf.shape[0]
    return sums[index].reshape(-1, *[1] * (image.ndim - 1))
