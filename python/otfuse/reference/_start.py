# SPDX-License-Identifier: BSD-3-Clause
"""Where the loops start, and the domain that their boundary asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import _grids as grids
from ._blur import Blur


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


def masked_mean(image: Tensor, seen: Tensor, ndim: int) -> Tensor:
    """Return the mean of each item over what was seen, spatial axes kept."""
    dims = grids.axes(ndim)
    return (image * seen).sum(dims, keepdim=True) / seen.sum(dims, keepdim=True).clamp(min=1)
