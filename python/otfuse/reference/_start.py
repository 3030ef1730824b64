# SPDX-License-Identifier: BSD-3-Clause
"""What the loops share: the domain that a boundary asks for, where they start, their momentum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import _grids as grids
from ._blur import Blur

FLOOR = 1e-6  # of the mean: the least light that is divided by
LEAST_SEEN = 0.01  # of a voxel's light: below that an estimate is left at 0


@dataclass(frozen=True)
class Domain:
    """How an image of `shape` lies in the estimate, and the blur between the two."""

    blur: Blur
    offsets: tuple[int, ...]
    after: tuple[int, ...]
    shape: tuple[int, ...]
    padded: bool  # the image itself is padded by reflection

    def enlarged(self, image: Tensor) -> Tensor:
        """Return the image as the blur gives it: padded where the boundary reflects."""
        return grids.pad_reflect(image, self.offsets, self.after) if self.padded else image

    def spread(self, image: Tensor, outside: Tensor) -> Tensor:
        """Return an array of the image's shape on the estimate's domain."""
        if self.padded:
            return self.enlarged(image)
        inside = grids.place(torch.ones_like(image), self.offsets, self.blur.grid)
        return torch.where(inside > 0, grids.place(image, self.offsets, self.blur.grid), outside)

    def spread_ends(self, image: Tensor) -> Tensor:
        """Return an image on the estimate's domain, its ends carried on outside of it."""
        if self.padded:
            return self.enlarged(image)
        return grids.place_ends(image, self.offsets, self.blur.grid)

    def cropped(self, estimate: Tensor) -> Tensor:
        """Return the part of the estimate that lies under the image."""
        return grids.crop(estimate, self.offsets, self.shape)


def domain(function: str, psf: Tensor, shape: tuple[int, ...], boundary: str) -> Domain:
    """Return the domain of a boundary by its name."""
    none = (0,) * len(shape)
    if boundary == "circular":
        return Domain(Blur.circular(psf, shape), none, none, shape, False)
    if boundary == "extended":
        blur = Blur.extended(psf, shape)
        return Domain(blur, grids.leads(psf, len(shape)), none, shape, False)
    if boundary != "reflect":
        raise ValueError(
            f"{function}: boundary must be 'circular', 'extended' or 'reflect', got {boundary!r}"
        )
    before, after = grids.smooth_margins(shape, psf)
    grid = tuple(b + n + a for b, n, a in zip(before, shape, after, strict=True))
    return Domain(Blur.circular(psf, grid), before, after, shape, True)


def masked_mean(images: Tensor, seens: Tensor, ndim: int, *, across: bool = False) -> Tensor:
    """Return the mean of each item over what was seen, spatial axes kept; or `across` axis 0."""
    dims = grids.axes(ndim)
    total, count = (a.sum(dims, keepdim=True) for a in (images * seens, seens))
    if across:
        total, count = total.sum(0), count.sum(0)
    return total / count.clamp(min=1)


def first_estimate(
    on: Domain,
    init: str | Tensor,
    light: Tensor,
    seen: Tensor,
    level: Tensor,
    least: float | Tensor,
) -> Tensor:
    """Return the start: the level, an image less its background, or an array."""
    if not isinstance(init, str):
        array = torch.as_tensor(init).to(light).expand(light.shape)
        return on.spread(array, array.mean(grids.axes(len(on.shape)), keepdim=True))
    if init == "image":
        return on.spread_ends(torch.where(seen > 0, light, level).clamp(min=least))
    return on.spread(level.expand(light.shape), level)


def entering(estimate: Tensor, previous: Tensor, k: int) -> Tensor:
    """Return the estimate that enters iteration k, pushed on by momentum."""
    return estimate + (k - 1) / (k + 2) * (estimate - previous)


def entering_positive(estimate: Tensor, previous: Tensor, k: int, floor: Tensor) -> Tensor:
    """Return the same for a loop that multiplies: at least half the estimate, and the floor."""
    return torch.maximum(entering(estimate, previous, k), estimate / 2).clamp(min=floor)
