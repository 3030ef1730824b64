# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy deconvolution of several views of one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import _grids as grids
from ._start import (
    FLOOR,
    LEAST_SEEN,
    Domain,
    domain,
    entering_positive,
    first_estimate,
    masked_mean,
)


def _grown(psf: Tensor, extents: Sequence[int]) -> Tensor:
    """Return the PSF with zeros around it, its middle at the middle of `extents`."""
    sizes = grids.spatial(psf, len(extents))
    offsets = tuple(n // 2 - k // 2 for n, k in zip(extents, sizes, strict=True))
    return grids.place(psf, offsets, tuple(extents))


class Observed(NamedTuple):
    """One view on its domain."""

    on: Domain
    image: Tensor
    seen: Tensor
    background: Tensor


def _updated(p: Tensor, views: Sequence[Observed], kind: str, floor: Tensor) -> Tensor:
    """Return the estimate after one iteration over all views."""
    corrections, lights = [], []
    for on, image, seen, background in views:
        expected = torch.maximum(on.blur.forward(p) + background, floor)
        returned = on.blur.adjoint(seen * image / expected)
        corrections.append(returned - returned.detach().clamp(max=0))  # below 0 is rounding
        lights.append(on.blur.adjoint(seen))
        if kind == "sequential":
            sees = lights[-1] > LEAST_SEEN
            p = torch.where(sees, p * corrections[-1] / lights[-1], p)
    if kind == "sequential":
        return p
    light, sees = torch.stack(lights), torch.stack(lights) > LEAST_SEEN
    if kind == "additive":
        return torch.where(sees.any(0), p * torch.stack(corrections).sum(0) / light.sum(0), 0.0)
    factors = torch.where(sees, torch.stack(corrections) / light, 1.0).clamp(min=FLOOR)
    return p * factors.prod(0) ** (1 / sees.sum(0).clamp(min=1).to(p.dtype))


def multiview_richardson_lucy(
    views: Sequence[Tensor],
    psfs: Sequence[Tensor],
    n_iters: int = 20,
    *,
    update: str = "additive",
    background: float | Tensor | Sequence[float | Tensor] = 0.0,
    boundary: str = "extended",
    acceleration: str | None = None,
    masks: Sequence[Tensor | None] | None = None,
    init: str | Tensor = "mean",
    ndim: int | None = None,
) -> Tensor:
    """Return the object that all views saw; see `otfuse.multiview_richardson_lucy`."""
    pairs = [grids.pair(y, h, ndim) for y, h in zip(views, psfs, strict=True)]
    ndim, shape = pairs[0][2], grids.spatial(pairs[0][0], pairs[0][2])
    extents = [max(h.shape[axis] for _, h, _ in pairs) for axis in grids.axes(ndim)]
    each = background if isinstance(background, list | tuple) else [background] * len(pairs)
    seens, levels, images, domains = [], [], [], []
    for i, (image, psf, _) in enumerate(pairs):
        mask = None if masks is None else masks[i]
        seen = torch.ones_like(image)
        if mask is not None:
            seen = (torch.as_tensor(mask) != 0).expand(image.shape).to(image.dtype)
        seens.append(seen)
        images.append(torch.where(seen > 0, image, 0.0))
        levels.append(torch.as_tensor(each[i]).to(image).expand(image.shape))
        psf = _grown(psf / psf.sum(grids.axes(ndim), keepdim=True), extents)
        domains.append(domain("multiview_richardson_lucy", psf, shape, boundary))
    mean = masked_mean(torch.stack(images), torch.stack(seens), ndim, across=True)
    floor = torch.where(mean > 0, FLOOR * mean, FLOOR).detach()
    light = torch.stack(images) - torch.stack(levels)
    level = masked_mean(light, torch.stack(seens), ndim, across=True).maximum(floor)
    estimate = first_estimate(domains[0], init, light[0], seens[0], level, floor)
    parts = [
        Observed(on, on.enlarged(image), on.enlarged(seen), on.enlarged(b))
        for on, image, seen, b in zip(domains, images, seens, levels, strict=True)
    ]
    alive = torch.stack([v.on.blur.adjoint(v.seen) for v in parts]).amax(0) > LEAST_SEEN
    estimate = previous = torch.where(alive, estimate, 0.0)
    for k in range(1, n_iters + 1):
        p = estimate
        if acceleration is not None:
            p = torch.where(alive, entering_positive(estimate, previous, k, floor), 0.0)
        previous, estimate = estimate, _updated(p, parts, update, floor)
    return domains[0].cropped(estimate)
