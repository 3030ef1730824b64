# SPDX-License-Identifier: BSD-3-Clause
"""The loop to time against: Richardson-Lucy on `torch.fft`, written as fast as plain torch allows.

Real transforms, spectra of the PSF computed once, work in place where torch can, no test and no
logarithm inside the loop. `extended` edges are the same loop on a larger, 7-smooth grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_SEEN = 0.01  # of a voxel's light, as in `richardson_lucy`


def smooth_extent(extent: int) -> int:
    """Return the smallest product of 2, 3, 5 and 7 that is at least `extent`."""
    while True:
        rest = extent
        for radix in (2, 3, 5, 7):
            while rest % radix == 0:
                rest //= radix
        if rest == 1:
            return extent
        extent += 1


def spectrum_on_grid(psf: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return the half spectrum of a PSF whose centre `k // 2` is brought to the origin."""
    padded = psf.new_zeros(grid)
    padded[tuple(slice(k) for k in psf.shape)] = psf
    shifts = tuple(-(k // 2) for k in psf.shape)
    axes = tuple(range(psf.ndim))
    return torch.fft.rfftn(torch.roll(padded, shifts, axes), dim=axes)


def filtered(array: Tensor, transfer: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the array with its spectrum multiplied by `transfer`."""
    spectrum = torch.fft.rfftn(array, dim=axes)
    spectrum *= transfer
    return torch.fft.irfftn(spectrum, s=[array.shape[a] for a in axes], dim=axes)


def cropped(array: Tensor, box: tuple[slice, ...]) -> Tensor:
    """Return a view of the box in the last axes."""
    return array[(slice(None),) * (array.ndim - len(box)) + box]


@dataclass(frozen=True)
class PlainLoop:
    """Image, spectra and weight, ready to iterate on."""

    image: Tensor  # on the grid, zero outside of what was observed
    otf: Tensor
    otf_adjoint: Tensor
    weight: Tensor | None  # None where every voxel is fully seen
    axes: tuple[int, ...]
    box: tuple[slice, ...]  # of the observed image in the grid
    mean: Tensor  # of each image

    @staticmethod
    def prepare(image: Tensor, psf: Tensor, boundary: str) -> PlainLoop:
        """Do what has to be done once for an image and a PSF."""
        axes = tuple(range(-psf.ndim, 0))
        shape = image.shape[image.ndim - psf.ndim :]
        psf = psf / psf.sum()
        mean = image.mean(axes, keepdim=True)
        if boundary == "circular":
            otf = spectrum_on_grid(psf, tuple(shape))
            box = tuple(slice(n) for n in shape)
            return PlainLoop(image, otf, otf.conj().resolve_conj(), None, axes, box, mean)
        pairs = list(zip(shape, psf.shape, strict=True))
        grid = tuple(smooth_extent(n + k - 1) for n, k in pairs)
        box = tuple(slice(k - 1 - k // 2, k - 1 - k // 2 + n) for n, k in pairs)
        otf = spectrum_on_grid(psf, grid)
        otf_adjoint = otf.conj().resolve_conj()
        padded = image.new_zeros((*image.shape[: image.ndim - psf.ndim], *grid))
        cropped(padded, box).copy_(image)
        observed = image.new_zeros(grid)
        observed[box] = 1.0
        seen = filtered(observed, otf_adjoint, axes)
        weight = torch.where(seen > LEAST_SEEN, 1.0 / seen, 0.0)
        return PlainLoop(padded, otf, otf_adjoint, weight, axes, box, mean)

    def step(self, estimate: Tensor, floor: float) -> None:
        """One iteration, in place; the blurred estimate is at least `floor`."""
        ratio = filtered(estimate, self.otf, self.axes).clamp_(min=floor)
        torch.div(self.image, ratio, out=ratio)
        correction = filtered(ratio, self.otf_adjoint, self.axes)
        if self.weight is not None:
            correction.mul_(self.weight)
        estimate.mul_(correction)

    def run(self, n_iters: int, step: Callable[[Tensor, float], None] | None = None) -> Tensor:
        """Return the estimate after `n_iters` iterations of `step`, cropped to the image."""
        step = self.step if step is None else step
        floor = 1e-6 * self.mean.max().item()
        estimate = torch.empty_like(self.image).copy_(self.mean)
        if self.weight is not None:
            estimate.mul_(self.weight > 0)
        for _ in range(n_iters):
            step(estimate, floor)
        return cropped(estimate, self.box)
