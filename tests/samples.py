# SPDX-License-Identifier: BSD-3-Clause
"""Shapes that break things: tiny, odd, prime, flat, batched, strided, with lopsided PSFs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """Extents of an image and of its PSF, the batch before them, and how the image lies."""

    name: str
    image: tuple[int, ...]
    psf: tuple[int, ...]
    batch: tuple[int, ...] = ()
    strided: bool = False

    @property
    def ndim(self) -> int:
        """The number of spatial axes."""
        return len(self.image)

    @property
    def extended(self) -> tuple[int, ...]:
        """Image and PSF less one: the domain of the estimate under extended edges."""
        return tuple(n + k - 1 for n, k in zip(self.image, self.psf, strict=True))


SAMPLES = [
    Sample("2d-small", (8, 16), (3, 4)),
    Sample("2d-one-voxel", (1, 1), (1, 1)),
    Sample("2d-odd", (15, 21), (5, 4)),
    Sample("2d-prime", (13, 29), (4, 7)),
    Sample("2d-prime-large", (11, 131), (3, 6)),
    Sample("2d-nx1", (12, 1), (5, 1)),
    Sample("2d-nx2", (9, 2), (4, 2)),
    Sample("2d-nx45", (10, 45), (4, 9)),
    Sample("2d-nx63", (9, 63), (6, 5)),
    Sample("2d-nx105", (7, 105), (3, 10)),
    Sample("2d-ny1", (1, 32), (1, 6)),
    Sample("2d-ny201", (201, 16), (8, 3)),
    Sample("2d-psf-as-large", (12, 14), (12, 14)),
    Sample("2d-batch", (20, 33), (5, 6), batch=(5,)),
    Sample("2d-batches", (16, 18), (3, 3), batch=(2, 3)),
    Sample("2d-strided", (18, 24), (4, 5), batch=(2,), strided=True),
    Sample("3d-small", (8, 12, 16), (3, 4, 5)),
    Sample("3d-noncubic", (5, 14, 24), (4, 3, 6)),
    Sample("3d-prime", (7, 11, 13), (3, 4, 2)),
    Sample("3d-nz1", (1, 9, 20), (1, 4, 3)),
    Sample("3d-ny1", (6, 1, 12), (3, 1, 4)),
    Sample("3d-nx1", (6, 10, 1), (3, 2, 1)),
    Sample("3d-nx45", (4, 6, 45), (3, 4, 8)),
    Sample("3d-ny201", (3, 201, 10), (2, 7, 3)),
    Sample("3d-batch", (6, 8, 10), (4, 3, 5), batch=(3,)),
    Sample("3d-batch-of-one", (6, 9, 15), (3, 3, 4), batch=(1, 1)),
    Sample("3d-strided", (6, 10, 14), (3, 5, 4), batch=(2,), strided=True),
]

BOUNDARIES = ["circular", "extended", "reflect"]

# Every mixture of odd and even extents.
PARITIES = [*product((3, 4), (5, 6)), *product((3, 4), (5, 4), (2, 3))]


def by_name(sample: object) -> str | None:
    """Return the name that pytest shows for a sample or a shape."""
    if isinstance(sample, Sample):
        return sample.name
    if isinstance(sample, tuple):
        return "x".join(map(str, sample))
    return None


def lopsided_psf(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return a positive PSF of sum 1 that equals none of its mirror images."""
    ramps = np.ogrid[tuple(slice(k) for k in shape)]
    psf = rng.random(shape) + 0.2 + sum((i + 1) * ramp for i, ramp in enumerate(ramps))
    return torch.from_numpy(psf / psf.sum()).to(dtype)


def counts(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return an image of photon counts with a gradient, some bright spots and some zeros."""
    image = rng.poisson(30 * rng.random(shape) ** 4) + 5.0 * (rng.random(shape) > 0.9)
    return torch.from_numpy(np.asarray(image, dtype=np.float64)).to(dtype)


def strided(tensor: Tensor) -> Tensor:
    """Return an equal tensor that is neither contiguous nor laid out in the order of its axes."""
    if tensor.ndim < 2:
        return torch.stack([tensor, tensor], -1)[..., 0]
    turned = tensor.transpose(0, -1).contiguous()
    return torch.stack([turned, turned], -1)[..., 0].transpose(0, -1)


def image_of(
    sample: Sample,
    rng: np.random.Generator,
    dtype: torch.dtype = torch.float64,
    shape: tuple[int, ...] | None = None,
) -> Tensor:
    """Return photon counts in the sample's batch and layout, of the image's extents or `shape`."""
    image = counts(rng, (*sample.batch, *(shape or sample.image)), dtype)
    return strided(image) if sample.strided else image
