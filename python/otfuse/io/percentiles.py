# SPDX-License-Identifier: BSD-3-Clause
"""Percentiles of arrays that are larger than memory, a plane at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from otfuse.io.mapped import release_pages

_BINS = 1 << 20


def streamed_percentiles(volume: Any, percents: Sequence[float]) -> tuple[float, ...]:
    """Percentiles of all voxels, as numpy defines them, without a copy of the volume.

    Integers of 8 and 16 bits are counted value by value, which is exact; anything else in about a
    million bins between its extremes, which errs by a millionth of the range at most.

    Parameters
    ----------
    volume : ndarray, shape (..., ny, nx), or what gives its planes, or parts of them, by index
        A mapped file is read once, or twice where it is not of 8 or 16 bits, and takes no more
        memory than a plane.
    percents : sequence of float
        0 to 100.

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError  if the volume holds NaN or infinite values.
    """
    if volume.dtype.kind in "ui" and volume.dtype.itemsize <= 2:
        limits = np.iinfo(volume.dtype)
        low, width = float(limits.min), 1.0
        counts = np.zeros(int(limits.max) - int(limits.min) + 1, np.int64)
        for plane in _planes(volume):
            shifted = plane.astype(np.int32) - limits.min if limits.min else plane
            counts += np.bincount(shifted, minlength=len(counts))
    else:
        low, high = _extremes(volume)
        width = (high - low) / (_BINS - 1) or 1.0
        counts = np.zeros(_BINS, np.int64)
        for plane in _planes(volume):
            bins = np.rint((plane.astype(np.float64) - low) / width)
            counts += np.bincount(bins.astype(np.int64), minlength=_BINS)
    below = np.cumsum(counts)
    return tuple(low + width * _ranked(below, percent / 100) for percent in percents)


def _ranked(below: np.ndarray, quantile: float) -> float:
    """The bin of a rank among all voxels, in proportion where it falls between two voxels."""
    rank = quantile * (int(below[-1]) - 1)
    first, second = (
        int(np.searchsorted(below, whole, side="right"))
        for whole in (np.floor(rank), np.ceil(rank))
    )
    return first + (second - first) * (rank - np.floor(rank))


def _extremes(volume: Any) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for plane in _planes(volume):
        low, high = np.minimum(low, plane.min()), np.maximum(high, plane.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            "streamed_percentiles: volume must be finite, got NaN or infinite values; replace them"
        )
    return float(low), float(high)


def _planes(volume: Any) -> Iterator[np.ndarray]:
    for index in np.ndindex(volume.shape[:-2]):
        plane = volume[index].reshape(-1)
        if plane.size:
            yield plane
            release_pages(volume)
