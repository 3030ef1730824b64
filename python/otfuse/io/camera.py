# SPDX-License-Identifier: BSD-3-Clause
"""What the camera adds to an image: a background level, and plateaus where it saturated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from otfuse._background import auto_background, dark_levels

__all__ = ["Saturation", "auto_background", "dark_levels", "find_saturation", "percentile"]

_FULL_SCALES = tuple(2**bits - 1 for bits in range(8, 17))
# Some cameras write 10 to 14 bits in the upper bits of a 16-bit word.
_SHIFTED_SCALES = tuple((2**bits - 1) << (16 - bits) for bits in range(10, 16))
_FEWEST_AT_FULL_SCALE = 3
_FEWEST_ELSEWHERE, _STEEPNESS, _BAND, _LOWEST_PLATEAU = 16, 4, 0.02, 200
_SAMPLE = 2_000_000


@dataclass(frozen=True)
class Saturation:
    """A level at which pixels are cut off, and how many pixels reach it."""

    level: float
    count: int


def percentile(volumes: np.ndarray, percent: float) -> float:
    """Percentile of a channel, from at most two million evenly spaced voxels.

    Parameters
    ----------
    volumes : ndarray
        Any shape.
    percent : float
        0 to 100.
    """
    step = max(1, volumes.size // _SAMPLE)
    # A step that shares a factor with nx would always sample the same columns.
    while np.gcd(step, volumes.shape[-1]) > 1:
        step += 1
    samples, phase = [], 0
    for index in np.ndindex(volumes.shape[:-2]):
        plane = volumes[index].reshape(-1)
        samples.append(plane[phase::step])
        phase = (phase - plane.size) % step
    # As floats: of truth values it takes no differences.
    return float(np.percentile(np.concatenate(samples).astype(np.float64, copy=False), percent))


def find_saturation(volumes: np.ndarray) -> Saturation | None:
    """Level at which a channel is cut off, if it is.

    The highest value of the channel is a plateau where it is the full scale of a converter of 8 to
    16 bits and at least three voxels have it, or where at least 16 voxels have it and four times as
    many as lie in the two percent below (an offset was subtracted, a converter saturates early).

    Parameters
    ----------
    volumes : ndarray, shape (nt, nz, ny, nx)
        All time points of one channel.

    Returns
    -------
    Saturation or None
        Voxels at or above `level` are saturated.
    """
    level = max(float(volume.max()) for volume in volumes)
    count = sum(int(np.count_nonzero(volume == level)) for volume in volumes)

    def count_above(floor: float) -> int:
        return sum(int(np.count_nonzero(volume >= floor)) for volume in volumes)

    return plateau(level, count, volumes.size, count_above)


def plateau(
    level: float, count: int, size: int, count_above: Callable[[float], int]
) -> Saturation | None:
    """The highest value as the level at which a channel is cut off, if `find_saturation` says so.

    Parameters
    ----------
    level : float
        The highest value.
    count, size : int
        Voxels that have it, and all voxels.
    count_above : callable
        Voxels at or above a value; asked only where it matters.
    """
    if level in _FULL_SCALES or level in _SHIFTED_SCALES:
        return Saturation(level, count) if count >= _FEWEST_AT_FULL_SCALE else None
    if level < _LOWEST_PLATEAU or not _FEWEST_ELSEWHERE <= count < size:
        return None
    below = count_above(level * (1 - _BAND)) - count
    return Saturation(level, count) if count >= _STEEPNESS * below else None
