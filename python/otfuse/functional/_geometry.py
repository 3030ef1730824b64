# SPDX-License-Identifier: BSD-3-Clause
"""Boundaries as windows on a periodic grid, and PSFs matched with batches.

The image lies at the origin. The PSF's centre k // 2 lies there too, so its window starts at
-(k // 2). With `extended` the estimate has n + k - 1 values and starts at -(k - 1 - k // 2):
the grid is at least that long, so nothing wraps onto what the camera saw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import broadcast_shapes

BOUNDARIES = ("circular", "extended", "reflect")


def next_fast_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Smallest-cost shape of at least `shape` whose transforms are fast.

    Parameters
    ----------
    shape : sequence of int
        Extents, each at least 1.

    Returns
    -------
    tuple of int
        7-smooth extents, chosen by the engine's own cost of a transform and of memory; not the
        next power of two.

    Raises
    ------
    ValueError
        If an extent is below 1.
    """
    for n in shape:
        _checks.at_least("next_fast_shape", "shape", n, 1)
    return tuple(ops.next_fast_extent(n) for n in shape)


@dataclass(frozen=True)
class Geometry:
    """Image, PSF and estimate on a grid; extents and offsets of the spatial axes."""

    image_shape: tuple[int, ...]
    psf_shape: tuple[int, ...]
    grid: tuple[int, ...]
    padded: bool  # the engine may take a larger, faster grid
    estimate_shape: tuple[int, ...]
    estimate_offset: tuple[int, ...]

    @property
    def image_window(self) -> tuple[slice, ...]:
        """The image's part of an estimate; the axes before are kept."""
        places = zip(self.estimate_offset, self.image_shape, strict=True)
        return (slice(None), *(slice(-o, n - o) for o, n in places))

    @property
    def psf_offset(self) -> tuple[int, ...]:
        return tuple(-(k // 2) for k in self.psf_shape)

    @property
    def origin(self) -> tuple[int, ...]:
        return (0,) * len(self.grid)


def circular_geometry(shape: Sequence[int], psf_shape: Sequence[int]) -> Geometry:
    """The estimate is where the image is, on a grid of its extents."""
    n = tuple(shape)
    return Geometry(n, tuple(psf_shape), n, False, n, (0,) * len(n))


def extended_geometry(shape: Sequence[int], psf_shape: Sequence[int]) -> Geometry:
    """The estimate reaches as far around the image as light can come from."""
    wide = tuple(n + k - 1 for n, k in zip(shape, psf_shape, strict=True))
    offset = tuple(-(k - 1 - k // 2) for k in psf_shape)
    return Geometry(tuple(shape), tuple(psf_shape), wide, True, wide, offset)


def reflected_index(n: int, before: int, after: int, device: torch.device) -> Tensor:
    """Indices into an axis that reflect it about its end values, as often as it takes."""
    period = max(2 * (n - 1), 1)
    index = torch.arange(-before, n + after, device=device) % period
    return torch.minimum(index, period - index) if n > 1 else torch.zeros_like(index)


def reflect_pad(image: Tensor, widths: Sequence[tuple[int, int]]) -> Tensor:
    """The last axes padded by reflection; its adjoint is its gradient."""
    first = image.ndim - len(widths)
    for axis, (before, after) in enumerate(widths, first):
        index = reflected_index(image.shape[axis], before, after, image.device)
        image = image.index_select(axis, index)
    return image


def edge_pad(image: Tensor, widths: Sequence[tuple[int, int]]) -> Tensor:
    """All axes but the first padded by their end values."""
    pads = [width for both in reversed(widths) for width in both]
    return torch.nn.functional.pad(image.unsqueeze(1), pads, mode="replicate").squeeze(1)


def reflect_fold(image: Tensor, widths: Sequence[tuple[int, int]]) -> Tensor:
    """Adjoint of reflect_pad: padding is added back to where it came from."""
    first = image.ndim - len(widths)
    for axis, (before, after) in enumerate(widths, first):
        n = image.shape[axis] - before - after
        index = reflected_index(n, before, after, image.device)
        shape = [*image.shape[:axis], n, *image.shape[axis + 1 :]]
        image = image.new_zeros(shape).index_add(axis, index, image)
    return image


def psf_widths(psf_shape: Sequence[int]) -> list[tuple[int, int]]:
    """How far a PSF reaches before and after each axis of an image."""
    return [(k - 1 - k // 2, k // 2) for k in psf_shape]


@dataclass(frozen=True)
class Batch:
    """Images and PSFs flattened to one leading axis: item b goes with psf (b // inner) % len."""

    image: Tensor
    psf: Tensor
    inner: int
    shape: tuple[int, ...]

    def unflatten(self, result: Tensor) -> Tensor:
        return result.reshape(*self.shape, *result.shape[1:])


def common_batch(
    function: str, given: Sequence[int], lead: Sequence[int], name: str = "psf"
) -> tuple[int, ...]:
    """Leading axes of an image and of a PSF broadcast against each other."""
    try:
        return broadcast_shapes(given, lead)
    except ValueError:
        raise ValueError(
            f"{function}: {name} must have leading axes that broadcast against the image's, got "
            f"{tuple(lead)} and {tuple(given)}; give one psf, or one per channel"
        ) from None


def match_batch(function: str, image: Tensor, psf: Tensor, ndim: int) -> Batch:
    """Images and PSFs of one batch."""
    lead = psf.shape[:-ndim]
    batch = common_batch(function, image.shape[:-ndim], lead)
    count = math.prod(batch)
    flat = image.expand(*batch, *image.shape[-ndim:]).reshape(count, *image.shape[-ndim:])
    aligned = (1,) * (len(batch) - len(lead)) + tuple(lead)
    varying = [i for i, n in enumerate(aligned) if n != 1]
    if not varying:
        return Batch(flat, psf.reshape(1, *psf.shape[-ndim:]), 1, tuple(batch))
    first, last = varying[0], varying[-1] + 1
    if aligned[first:last] == tuple(batch[first:last]):
        inner = math.prod(batch[last:])
    else:  # a broadcast axis between two that vary: one psf per item
        psf, inner = psf.expand(*batch, *psf.shape[-ndim:]), 1
    return Batch(flat, psf.reshape(-1, *psf.shape[-ndim:]), inner, tuple(batch))
