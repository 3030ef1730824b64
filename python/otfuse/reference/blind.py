# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy steps of object and PSF by turns."""

from __future__ import annotations

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


def _psf_adjoint(on: Domain, image: Tensor, estimate: Tensor, psf: Tensor, boundary: str) -> Tensor:
    """Return the adjoint of psf -> its blur of the estimate, from the image to the PSF's shape."""
    ndim = len(on.shape)
    dims = grids.axes(ndim)
    placed = grids.place(image, on.blur.offsets, on.blur.grid)
    spectrum = torch.fft.rfftn(estimate, dim=dims).conj() * torch.fft.rfftn(placed, dim=dims)
    whole = torch.fft.irfftn(spectrum, s=on.blur.grid, dim=dims)
    if boundary != "extended":  # the PSF's middle lies at the origin of a periodic grid
        whole = whole.roll(grids.centres(psf, ndim), dims)
    found = grids.crop(whole, (0,) * ndim, grids.spatial(psf, ndim))
    return found.sum_to_size(psf.shape)  # over the images that share it


def blind_richardson_lucy(
    image: Tensor,
    psf: Tensor,
    n_iters: int = 10,
    *,
    object_iters: int = 10,
    psf_iters: int = 1,
    background: float | Tensor = 0.0,
    boundary: str = "extended",
    acceleration: str | None = "shb",
    mask: Tensor | None = None,
    init: str | Tensor = "mean",
    ndim: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return object and PSF; see `otfuse.blind_richardson_lucy`."""
    image, psf, ndim = grids.pair(image, psf, ndim)
    dims, shape = grids.axes(ndim), grids.spatial(image, ndim)
    psf = psf / psf.sum(dims, keepdim=True)
    seen = torch.ones_like(image)
    if mask is not None:
        seen = (torch.as_tensor(mask) != 0).expand(image.shape).to(image.dtype)
    image = torch.where(seen > 0, image, 0.0)
    mean = masked_mean(image, seen, ndim)
    floor = torch.where(mean > 0, FLOOR * mean, FLOOR).detach()
    level = masked_mean(image - background, seen, ndim).maximum(floor)
    on = domain("blind_richardson_lucy", psf, shape, boundary)
    x = first_estimate(on, init, image - background, seen, level, floor)
    y, seen = on.enlarged(image), on.enlarged(seen)
    b = on.enlarged(torch.as_tensor(background).to(image).expand(image.shape))
    for _ in range(n_iters):
        light = on.blur.adjoint(seen)
        alive = light > LEAST_SEEN
        x = previous = torch.where(alive, x, 0.0)
        for k in range(1, object_iters + 1):
            p = x
            if acceleration is not None:
                p = torch.where(alive, entering_positive(x, previous, k, floor), 0.0)
            ratio = seen * y / torch.maximum(on.blur.forward(p) + b, floor)
            previous, x = x, torch.where(alive, p * on.blur.adjoint(ratio) / light, 0.0)
        spread = _psf_adjoint(on, seen, x, psf, boundary)
        for _ in range(psf_iters):
            ratio = seen * y / torch.maximum(on.blur.forward(x) + b, floor)
            psf = psf * _psf_adjoint(on, ratio, x, psf, boundary).clamp(min=0) / spread
            psf = psf / psf.sum(dims, keepdim=True)
            on = domain("blind_richardson_lucy", psf, shape, boundary)
    return on.cropped(x), psf
