# SPDX-License-Identifier: BSD-3-Clause
"""Projected gradient steps towards least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _grids as grids
from ._start import domain, entering, first_estimate, masked_mean


def landweber(
    image: Tensor,
    psf: Tensor,
    n_iters: int = 30,
    *,
    relaxation: float = 1.0,
    nonnegative: bool = True,
    background: float | Tensor = 0.0,
    boundary: str = "extended",
    acceleration: str | None = None,
    mask: Tensor | None = None,
    init: str | Tensor = "image",
    ndim: int | None = None,
) -> Tensor:
    """Return x after `n_iters` of `x <- P(p + t H^T(y - b - H p))`; see `otfuse.landweber`."""
    image, psf, ndim = grids.pair(image, psf, ndim)
    least = 0.0 if nonnegative else -torch.inf
    seen = torch.ones_like(image)
    if mask is not None:
        seen = (torch.as_tensor(mask) != 0).expand(image.shape).to(image.dtype)
    light = torch.where(seen > 0, image - background, 0.0)
    level = masked_mean(light, seen, ndim).clamp(min=least)
    on = domain("landweber", psf, grids.spatial(image, ndim), boundary)
    start = first_estimate(on, init, light, seen, level, least)
    light, seen = on.enlarged(light), on.enlarged(seen)
    length = relaxation / psf.abs().sum(grids.axes(ndim), keepdim=True).square()
    estimate = previous = start
    for k in range(1, n_iters + 1):
        p = estimate
        if acceleration == "nesterov":
            p = entering(estimate, previous, k)
        missing = seen * (light - on.blur.forward(p))
        previous, estimate = estimate, (p + length * on.blur.adjoint(missing)).clamp(min=least)
    return on.cropped(estimate)
