# SPDX-License-Identifier: BSD-3-Clause
"""The blur of images of one shape, as an operator with its exact adjoint."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from . import _grids as grids


@dataclass(frozen=True)
class Blur:
    """A PSF's spectrum on a grid, and the box of that grid which the camera sees."""

    otf: Tensor  # (..., half spectrum of grid)
    grid: tuple[int, ...]
    offsets: tuple[int, ...]  # of the box in the grid
    shape: tuple[int, ...]  # of the box

    @staticmethod
    def circular(psf: Tensor, shape: tuple[int, ...]) -> Blur:
        """Return `out[i] = sum_m psf[m] image[(i - (m - k // 2)) mod n]`."""
        otf = grids.spectrum(psf, shape, centred=True)
        return Blur(otf, shape, (0,) * len(shape), shape)

    @staticmethod
    def extended(psf: Tensor, shape: tuple[int, ...]) -> Blur:
        """Return `out[i] = sum_m psf[m] image[i + (k - 1) - m]`, from n + k - 1 voxels to n.

        A grid of n + k - 1 is wide enough: what wraps around falls on the voxels that are cut off.
        """
        offsets = tuple(k - 1 for k in grids.spatial(psf, len(shape)))
        grid = tuple(n + o for n, o in zip(shape, offsets, strict=True))
        return Blur(grids.spectrum(psf, grid, centred=False), grid, offsets, shape)

    def forward(self, estimate: Tensor) -> Tensor:
        """Return the blurred estimate, from `grid` to `shape`."""
        return grids.crop(grids.multiply(estimate, self.otf, self.grid), self.offsets, self.shape)

    def adjoint(self, image: Tensor) -> Tensor:
        """Return the image correlated with the PSF, from `shape` to `grid`."""
        placed = grids.place(image, self.offsets, self.grid)
        return grids.multiply(placed, self.otf.conj(), self.grid)
