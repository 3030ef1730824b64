# SPDX-License-Identifier: BSD-3-Clause
"""Cropping and stitching of large volumes as the authors of RLN do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import isqrt

import numpy as np

from otfuse.nn.rln_scale import PERCENTS, IntensityScale

_LARGEST_DEPTH, _LARGEST_WIDTH = 2000, 1998
_BUDGET = 80 << 20  # voxels of a block: 320 MB of float32
_HALF_MAX = float(np.finfo(np.float16).max)

Extents = tuple[int, int, int]


def published_blocks(shape: Sequence[int]) -> tuple[Extents, Extents]:
    """Extents of a block, and of what neighbouring blocks share, for a volume of these extents.

    Parameters
    ----------
    shape : (nz, ny, nx)

    Returns
    -------
    (crop, overlap)
        The crop may exceed the volume.
    """
    nz, ny, nx = shape
    depth = 0 if nz < 40 else 10
    overlap = (depth, 24, 24)
    if ny % 2:
        overlap = (depth, 23, 24)
    if nx % 2:
        overlap = (depth, 32, 24)
    crop_z = min(nz, _LARGEST_DEPTH)
    width = min(isqrt(_BUDGET // crop_z), _LARGEST_WIDTH)
    width -= width % 2
    return (crop_z, width, width), overlap


def published_weight(crop: Sequence[int], overlap: Sequence[int]) -> np.ndarray:
    """Weight of each voxel of a block: along each axis i / (o + 1) up to 1, and down again.

    Parameters
    ----------
    crop, overlap : (z, y, x)

    Returns
    -------
    ndarray, shape `crop`, float32
    """
    weight = np.ones((1, 1, 1), np.float32)
    for axis, (n, o) in enumerate(zip(crop, overlap, strict=True)):
        line = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) / (o + 1)
        shape = [1, 1, 1]
        shape[axis] = n
        weight = weight * np.minimum(line, 1).astype(np.float32).reshape(shape)
    return weight


def restore_as_published(
    volume: np.ndarray,
    restore: Callable[[np.ndarray], np.ndarray],
    *,
    blocks: tuple[Sequence[int], Sequence[int]] | None = None,
    done: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Restore a volume block by block: each scaled by its own percentiles, results blended.

    Only the scale's upper end is given back, not its offset, and the result goes through float16,
    both as in the authors' program. Seams show where neighbouring blocks differ in brightness.

    Parameters
    ----------
    volume : ndarray, shape (nz, ny, nx)
    restore : callable
        The network, volume in and volume out, float32.
    blocks : (crop, overlap), optional
        By default those of `published_blocks`.
    done : callable, optional
        Told how many blocks are done, of how many.

    Returns
    -------
    ndarray, shape (nz, ny, nx), float32
        Rounded to float16.

    Raises
    ------
    ValueError  if the volume is not finite, or a result exceeds what float16 holds.
    """
    crop, overlap = blocks or published_blocks(volume.shape)
    weight = published_weight(crop, overlap)
    total = np.zeros(volume.shape, np.float32)
    weights = np.zeros(volume.shape, np.float32)
    places = list(product(*map(_starts, volume.shape, crop, overlap)))
    for count, start in enumerate(places, start=1):
        where = tuple(slice(a, a + n) for a, n in zip(start, crop, strict=True))
        block = np.asarray(volume[where], np.float32)
        if not np.isfinite(block).all():
            raise ValueError(
                "restore_as_published: volume must be finite, got NaN or infinity; replace them "
                "first"
            )
        here = weight[tuple(slice(n) for n in block.shape)]
        total[where] += here * (restore_scaled(block, restore))
        weights[where] += here
        if done is not None:
            done(count, len(places))
    total /= weights
    farthest = max(float(total.max()), -float(total.min()))
    if not farthest <= _HALF_MAX:
        raise ValueError(
            f"restore_as_published: results must lie within {_HALF_MAX:g} of 0, which is what the "
            f"published scheme can hold, got {farthest:g} from it; scale the volume down"
        )
    return total.astype(np.float16).astype(np.float32)


def restore_scaled(block: np.ndarray, restore: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """One block on the scale of its own percentiles, the result times the upper one.

    Parameters
    ----------
    block : ndarray, float32
    restore : callable
    """
    low, high = (float(p) for p in np.percentile(block, PERCENTS))
    scale = IntensityScale.from_percentiles(low, high)
    return restore(scale.apply(block).astype(np.float32)) * np.float32(high)


def _starts(n: int, crop: int, overlap: int) -> range:
    """Origins of the blocks of an axis; they are cut off at its end."""
    step = crop - overlap
    count = n // step + (1 if n // step * step + overlap < n else 0)
    return range(0, max(count, 1) * step, step)
