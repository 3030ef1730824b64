# SPDX-License-Identifier: BSD-3-Clause
"""From radial intensities to the voxels of a PSF: one quadrant is computed, the rest mirrored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from . import _optics as optics
from ._optics import Lens
from ._radial import Radial, gauss_legendre


@dataclass(frozen=True)
class Canvas:
    """The voxels that a PSF is wanted on."""

    extents: tuple[int, int, int]
    edges: tuple[float, float, float]
    pixel_integrated: bool

    @classmethod
    def checked(
        cls, function: str, shape: Sequence[int], voxel: Sequence[float], pixel_integrated: bool
    ) -> Canvas:
        """Return it for a shape and a voxel that are three positive numbers each."""
        return cls(
            optics.check_shape(function, "shape", shape),
            optics.check_voxel(function, "voxel", voxel),
            bool(pixel_integrated),
        )

    def heights(self, objective: Lens) -> Tensor:
        """Return the stage positions that differ: all, or one side where the two are equal."""
        planes, dz = self.extents[0], self.edges[0]
        centre = planes // 2
        first = -centre if objective.aberrated else 0
        last = planes - 1 - centre if objective.aberrated else max(centre, planes - 1 - centre)
        steps = torch.arange(first, last + 1, dtype=torch.float64, device=objective.na.device)
        return steps * dz

    def reach(self, lens: Lens) -> float:
        """Return the v of the farthest point from the axis."""
        more = 0.5 if self.pixel_integrated else 0.0
        ry, rx = (
            (n // 2 + more) * d for n, d in zip(self.extents[1:], self.edges[1:], strict=True)
        )
        return float(lens.v_per_length.detach()) * math.hypot(ry, rx)

    def draw(self, factors: Sequence[Radial], objective: Lens, dtype: torch.dtype) -> Tensor:
        """Return the product of the radial intensities on the voxels, sum 1."""
        y, x = (
            torch.arange(n // 2 + 1, dtype=torch.float64, device=objective.na.device) * d
            for n, d in zip(self.extents[1:], self.edges[1:], strict=True)
        )
        quarter: Tensor | float = 0.0
        for (dy, wy), (dx, wx) in self._points_in_a_pixel(factors):
            radius = torch.hypot((y + dy)[:, None], x + dx).flatten()
            lights = [factor.at(radius) for factor in factors]
            quarter = quarter + (wy * wx) * reduce(torch.mul, lights)
        assert isinstance(quarter, Tensor)
        planes = quarter.T.reshape(-1, len(y), len(x))
        return self._mirrored(planes, objective.aberrated, dtype)

    def _points_in_a_pixel(
        self, factors: Sequence[Radial]
    ) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """Return pairs of (offset, weight) along y and x: the centre, or a Gauss-Legendre rule."""
        if not self.pixel_integrated:
            return [((0.0, 1.0), (0.0, 1.0))]
        # No frequency of the product is above this, in radians per micrometre.
        highest = sum(2 * f.power * float(f.scale.detach()) for f in factors)
        rules = []
        for edge in self.edges[1:]:
            nodes, weights = gauss_legendre(3 + math.ceil(highest * edge / 2))
            offsets = ((nodes - 0.5) * edge).tolist()
            rules.append(list(zip(offsets, weights.tolist(), strict=True)))
        return [(along_y, along_x) for along_y in rules[0] for along_x in rules[1]]

    def _mirrored(self, quarter: Tensor, aberrated: bool, dtype: torch.dtype) -> Tensor:
        """Return the whole PSF, normalised, out of a quadrant of the planes that differ."""
        z, y, x = (torch.arange(n, device=quarter.device) - n // 2 for n in self.extents)
        z = z + self.extents[0] // 2 if aberrated else z.abs()
        y, x = y.abs(), x.abs()
        counts = [
            torch.bincount(index, minlength=n).to(quarter.dtype)
            for index, n in zip((z, y, x), quarter.shape, strict=True)
        ]
        total = torch.einsum("zyx,z,y,x->", quarter, *counts)
        quarter = (quarter / total).to(dtype)
        # Lines grow first: gathering along x is the slow one, y and z copy whole lines and planes.
        return quarter.index_select(2, x).index_select(1, y).index_select(0, z)
