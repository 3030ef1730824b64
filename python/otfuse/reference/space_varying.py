# SPDX-License-Identifier: BSD-3-Clause
"""A blur that changes over the image, as a weighted sum of whole blurs."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from . import _grids as grids
from ._blur import Blur
from ._start import FLOOR, LEAST_SEEN, domain, entering_positive, first_estimate, masked_mean


def _shares(n: int, k: int, nodes: int, overlap: float, like: Tensor) -> list[Tensor]:
    """Return each node's share of the light of the n + k - 1 voxels of one axis."""
    place = torch.arange(n + k - 1, dtype=torch.float64) - (k - 1 - k // 2)
    shares = [torch.ones_like(place)] + [torch.zeros_like(place)] * (nodes - 1)
    for i in range(nodes - 1):
        middle = (i + 1) * n / nodes - 0.5
        way = ((place - middle) / (overlap * n / nodes)).clamp(-0.5, 0.5)
        rise = torch.sin(math.pi / 2 * (way + 0.5)) ** 2
        shares[i], shares[i + 1] = shares[i] * (1 - rise), rise
    return [share.to(like) for share in shares]


class _Sum:
    """The blur `sum_t H_t (w_t x)` for images of `shape`, from `grid`."""

    def __init__(self, psfs: Tensor, shape: tuple[int, ...], overlap: float) -> None:
        ndim = len(shape)
        nodes, extents = psfs.shape[:ndim], psfs.shape[ndim:]
        lines = [
            _shares(n, k, g, overlap, psfs) for n, k, g in zip(shape, extents, nodes, strict=True)
        ]
        self.parts = []
        for place in product(*(range(g) for g in nodes)):
            window = torch.ones((), dtype=psfs.dtype, device=psfs.device)
            for i, line in zip(place, lines, strict=True):
                window = window[..., None] * line[i]
            self.parts.append((window, Blur.extended(psfs[place], shape)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([blur.forward(window * x) for window, blur in self.parts]).sum(0)

    def adjoint(self, u: Tensor) -> Tensor:
        return torch.stack([window * blur.adjoint(u) for window, blur in self.parts]).sum(0)


def space_varying_convolve(
    image: Tensor, psfs: Tensor, *, overlap: float = 1.0, adjoint: bool = False
) -> Tensor:
    """Return the changing blur of an image; see `otfuse.space_varying_convolve`."""
    image, psfs, _ = grids.pair(image, psfs, None)
    ndim = psfs.ndim // 2
    shape = grids.spatial(image, ndim)
    if adjoint:
        return _Sum(psfs, shape, overlap).adjoint(image)
    seen = tuple(n - k + 1 for n, k in zip(shape, psfs.shape[ndim:], strict=True))
    return _Sum(psfs, seen, overlap).forward(image)


def space_varying_richardson_lucy(
    image: Tensor,
    psfs: Tensor,
    n_iters: int = 30,
    *,
    overlap: float = 1.0,
    background: float | Tensor = 0.0,
    acceleration: str | None = None,
    mask: Tensor | None = None,
    init: str | Tensor = "mean",
) -> Tensor:
    """Return the estimate after `n_iters`; see `otfuse.space_varying_richardson_lucy`."""
    image, psfs, _ = grids.pair(image, psfs, None)
    ndim = psfs.ndim // 2
    psfs = psfs / psfs.sum(grids.axes(ndim), keepdim=True)
    seen = torch.ones_like(image)
    if mask is not None:
        seen = (torch.as_tensor(mask) != 0).expand(image.shape).to(image.dtype)
    image = torch.where(seen > 0, image, 0.0)
    mean = masked_mean(image, seen, ndim)
    floor = torch.where(mean > 0, FLOOR * mean, FLOOR).detach()
    level = masked_mean(image - background, seen, ndim).maximum(floor)
    shape = grids.spatial(image, ndim)
    blur = _Sum(psfs, shape, overlap)
    light = blur.adjoint(seen)
    alive = light > LEAST_SEEN
    on = domain("space_varying_richardson_lucy", psfs[(0,) * ndim], shape, "extended")
    start = first_estimate(on, init, image - background, seen, level, floor)
    estimate = previous = torch.where(alive, start, 0.0)
    for k in range(1, n_iters + 1):
        p = estimate
        if acceleration is not None:
            p = torch.where(alive, entering_positive(estimate, previous, k, floor), 0.0)
        ratio = seen * image / torch.maximum(blur.forward(p) + background, floor)
        previous, estimate = estimate, torch.where(alive, p * blur.adjoint(ratio) / light, 0.0)
    return on.cropped(estimate)
