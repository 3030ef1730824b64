# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy deconvolution, one line of code for each line of its definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import _grids as grids
from ._blur import Blur

REPORT_EVERY = 5
FLAT = 1e-4  # relative fall of the I-divergence per iteration at which stop="idiv" ends
LEAST_SEEN = 0.01  # of a voxel's light: below that an estimate is left at 0


@dataclass(frozen=True)
class Info:
    """What a callback is told."""

    n_iters: int
    i_divergence: Tensor  # (batch..., iterations done)
    estimate: Tensor  # cropped to the image


@dataclass(frozen=True)
class Problem:
    """Image, mask and operator on the domain that is iterated on, and the way back."""

    image: Tensor
    mask: Tensor  # True where the image was observed
    blur: Blur
    background: float | Tensor
    floor: Tensor
    weight: Tensor  # 1 / H^T mask where that is over LEAST_SEEN, else 0
    offsets: tuple[int, ...]  # of the image in the estimate
    shape: tuple[int, ...]  # of the image

    def reblurred(self, estimate: Tensor) -> Tensor:
        """Return the counts that the estimate predicts."""
        return torch.maximum(self.blur.forward(estimate) + self.background, self.floor)

    def correction(self, reblurred: Tensor) -> Tensor:
        """Return `H^T (image / reblurred)` over the observed voxels."""
        returned = self.blur.adjoint(torch.where(self.mask, self.image / reblurred, 0.0))
        # What is negative is rounding: it goes, but the derivative is that of the equation.
        return returned - returned.detach().clamp(max=0)

    def i_divergence(self, reblurred: Tensor) -> Tensor:
        """Return the sum over the observed voxels of `y log(y / m) - y + m`, per batch item."""
        y, m = self.image.detach(), reblurred.detach()
        terms = torch.xlogy(y, y / m) - y + m
        return torch.where(self.mask, terms, 0.0).sum(grids.axes(len(self.shape)))

    def spread(self, array: Tensor, outside: Tensor) -> Tensor:
        """Return an array of the image's shape on the domain of the estimate."""
        if self.blur.grid == self.blur.shape:
            sizes = zip(self.blur.grid, self.offsets, self.shape, strict=True)
            return grids.pad_reflect(array, self.offsets, tuple(g - o - n for g, o, n in sizes))
        inside = grids.place(torch.ones_like(array), self.offsets, self.blur.grid)
        placed = grids.place(array, self.offsets, self.blur.grid)
        return torch.where(inside > 0, placed, outside)

    def cropped(self, estimate: Tensor) -> Tensor:
        """Return the part of the estimate that lies under the image."""
        return grids.crop(estimate, self.offsets, self.shape)


def _observed_mean(image: Tensor, mask: Tensor | None, ndim: int) -> Tensor:
    """Return the mean over the observed voxels of each batch item."""
    dims = grids.axes(ndim)
    if mask is None:
        return image.mean(dims, keepdim=True)
    total = torch.where(mask, image, 0.0).sum(dims, keepdim=True)
    return total / mask.sum(dims, keepdim=True).clamp(min=1)


def _weight(blur: Blur, mask: Tensor, whole: bool, like: Tensor) -> Tensor:
    """Return `1 / H^T mask`; exactly 1 for a periodic blur of a wholly observed image."""
    if whole:
        return like.new_ones(blur.grid)
    seen = blur.adjoint(mask.to(like.dtype))
    kept = seen > LEAST_SEEN
    return torch.where(kept, 1.0 / torch.where(kept, seen, 1.0), 0.0)


def _start(
    init: str | Tensor, image: Tensor, mask: Tensor | None, mean: Tensor, problem: Problem
) -> Tensor:
    """Return the first estimate: the mean, the image, or an array, on the estimate's domain."""
    if not isinstance(init, str):
        array = torch.as_tensor(init).to(image)
        start = problem.spread(array, array.mean(grids.axes(len(problem.shape)), keepdim=True))
    elif init == "mean":
        start = mean
    elif init == "image":
        light = torch.maximum(image - problem.background, problem.floor)
        start = problem.spread(light if mask is None else torch.where(mask, light, mean), mean)
    else:
        raise ValueError(f"richardson_lucy: init must be 'mean', 'image' or an array, got {init!r}")
    return torch.where(problem.weight > 0, start, 0.0)


def _problem(
    image: Tensor,
    psf: Tensor,
    mask: Tensor | None,
    background: float | Tensor,
    floor: Tensor,
    boundary: str,
    ndim: int,
) -> Problem:
    """Return the problem on the domain that the boundary asks for."""
    shape = grids.spatial(image, ndim)
    offsets = after = (0,) * ndim
    seen = torch.ones_like(image, dtype=torch.bool) if mask is None else mask
    if boundary == "extended":
        blur, offsets = Blur.extended(psf, shape), grids.leads(psf, ndim)
    elif boundary in ("circular", "reflect"):
        if boundary == "reflect":
            offsets, after = grids.smooth_margins(shape, psf)
        image, seen = (grids.pad_reflect(a, offsets, after) for a in (image, seen))
        blur = Blur.circular(psf, grids.spatial(image, ndim))
    else:
        raise ValueError(
            "richardson_lucy: boundary must be 'circular', 'extended' or 'reflect', "
            f"got {boundary!r}"
        )
    weight = _weight(blur, seen, mask is None and boundary != "extended", image)
    return Problem(image, seen, blur, background, floor, weight, offsets, shape)


def _entering(
    estimate: Tensor, previous: Tensor, k: int, acceleration: str | None, problem: Problem
) -> Tensor:
    """Return the estimate that enters iteration k: itself, or pushed on by momentum."""
    if acceleration is None:
        return estimate
    pushed = estimate + (k - 1) / (k + 2) * (estimate - previous)
    return torch.where(problem.weight > 0, torch.maximum(pushed, problem.floor), 0.0)


def _flat(i_divergence: list[Tensor]) -> bool:
    """Return whether every batch item's I-divergence has all but stopped falling."""
    if len(i_divergence) <= REPORT_EVERY:
        return False
    before, now = i_divergence[-1 - REPORT_EVERY], i_divergence[-1]
    return bool(((before - now) < FLAT * REPORT_EVERY * before).all())


def richardson_lucy(
    image: Tensor,
    psf: Tensor,
    n_iters: int = 30,
    *,
    background: float | Tensor = 0.0,
    boundary: str = "extended",
    acceleration: str | None = None,
    back_projector: None = None,
    mask: Tensor | None = None,
    init: str | Tensor = "mean",
    stop: str | None = None,
    callback: Callable[[int, Info], object] | None = None,
    ndim: int | None = None,
) -> Tensor:
    """Return the estimate after `n_iters` iterations; see `otfuse.richardson_lucy`."""
    if acceleration not in (None, "shb"):
        raise ValueError(
            f"richardson_lucy: acceleration must be None or 'shb', got {acceleration!r}"
        )
    if back_projector is not None:
        raise ValueError(f"richardson_lucy: back_projector must be None, got {back_projector!r}")
    image, psf, ndim = grids.pair(image, psf, ndim)
    psf = psf / psf.sum(grids.axes(ndim), keepdim=True)
    if mask is not None:
        mask = (torch.as_tensor(mask) != 0).expand(image.shape)
    mean = _observed_mean(image, mask, ndim)
    floor = torch.where(mean == 0, 1e-6, 1e-6 * mean).detach()
    problem = _problem(image, psf, mask, background, floor, boundary, ndim)
    mean = torch.maximum(mean - background, floor)

    estimate = previous = _start(init, image, mask, mean, problem)
    i_divergence: list[Tensor] = []
    for k in range(1, n_iters + 1):
        entering = _entering(estimate, previous, k, acceleration, problem)
        reblurred = problem.reblurred(entering)
        i_divergence.append(problem.i_divergence(reblurred))
        previous, estimate = estimate, entering * problem.correction(reblurred) * problem.weight
        if k % REPORT_EVERY and k < n_iters:
            continue
        if callback is not None:
            info = Info(n_iters, torch.stack(i_divergence, -1), problem.cropped(estimate))
            if callback(k, info):
                break
        if stop == "idiv" and _flat(i_divergence):
            break
    return problem.cropped(estimate)
