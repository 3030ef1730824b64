# SPDX-License-Identifier: BSD-3-Clause
"""The level of light that does not come from the object, read off the image."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def auto_background(volumes: Iterable[np.ndarray], sigma: float = 2.0) -> float:
    """Minimum of the volumes after Gaussian smoothing: an estimate of the camera's background.

    The smoothing acts along every spatial axis with more than one voxel and reflects at the edges.

    Parameters
    ----------
    volumes : ndarray, shape (nt, nz, ny, nx), or iterable of (nz, ny, nx)
        All time points of one channel; the result is one number for all of them.
    sigma : float
        Width of the Gaussian in voxels.

    Returns
    -------
    float
        In the unit of the image.
    """
    return dark_levels(volumes, sigma)[0]


def dark_levels(volumes: Iterable[np.ndarray], sigma: float = 2.0) -> tuple[float, float]:
    """`auto_background`, and what an offset can be at the most without cutting into its noise.

    That lies twice the noise's standard deviation below: taken off an image, it leaves hardly a
    negative value, and as background a level that the noise belongs to.

    Parameters
    ----------
    volumes, sigma
        As in `auto_background`.

    Returns
    -------
    (float, float)
        In the unit of the image; the second is 0 at the least.
    """
    whole = (slice(None), slice(None), slice(None))
    lowest, noise = min(smoothed_minimum(volume, whole, sigma) for volume in volumes)
    return lowest, max(lowest - 2 * noise, 0.0)


def _noise(plane: np.ndarray, smooth: np.ndarray) -> float:
    """Standard deviation of the noise in the darkest tenth of a plane.

    From second differences along x, to which structures add little, by their median: to what is
    left of them it is blind.
    """
    if plane.shape[1] < 3:
        return 0.0
    line = plane.astype(np.float32)
    bends = np.abs(line[:, 2:] - 2 * line[:, 1:-1] + line[:, :-2])
    inner = smooth[:, 1:-1]
    dark = bends[inner <= np.quantile(inner, 0.1)]
    return float(np.median(dark)) / (0.6745 * np.sqrt(6))


def smoothed_minimum(
    volume: np.ndarray, inside: tuple[slice, slice, slice], sigma: float = 2.0
) -> tuple[float, float]:
    """Minimum after smoothing, and the noise there, as in `dark_levels`, of a part of a volume.

    Parameters
    ----------
    volume : ndarray, shape (nz, ny, nx)
    inside : (z, y, x)
        The part, `smoothing_reach` voxels away from where the volume was cut out of a larger one.
    sigma : float
    """
    weights, lowest, noise = _gaussian(sigma), np.inf, 0.0
    for plane in range(*inside[0].indices(volume.shape[0])):
        smooth = _smooth_plane(volume, plane, weights)[inside[1:]]
        least = float(smooth.min())
        if least < lowest:
            lowest, noise = least, _noise(volume[plane][inside[1:]], smooth)
    return lowest, noise


def smoothing_reach(sigma: float = 2.0) -> int:
    """Voxels on either side that smoothing looks at."""
    return len(_gaussian(sigma)) - 1


def _gaussian(sigma: float) -> np.ndarray:
    radius = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    return (weights / (2 * weights.sum() - weights[0])).astype(np.float32)


def _smooth_plane(volume: np.ndarray, plane: int, weights: np.ndarray) -> np.ndarray:
    """One plane of the smoothed volume, so that no smoothed copy of the whole is ever held."""
    nz = volume.shape[0]
    out = volume[plane].astype(np.float32) * (weights[0] if nz > 1 else 1)
    if nz > 1:
        for k, weight in enumerate(weights[1:], start=1):
            out += weight * volume[_mirror(plane - k, nz)]
            out += weight * volume[_mirror(plane + k, nz)]
    for axis in (0, 1):
        out = _smooth_axis(out, weights, axis) if out.shape[axis] > 1 else out
    return out


def _smooth_axis(plane: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    n, radius = plane.shape[axis], len(weights) - 1
    padded = plane.take([_mirror(i, n) for i in range(-radius, n + radius)], axis)
    lines = padded if axis == 0 else padded.T
    out = weights[0] * lines[radius : radius + n]
    for k, weight in enumerate(weights[1:], start=1):
        out += weight * (lines[radius - k : radius - k + n] + lines[radius + k : radius + k + n])
    return out if axis == 0 else out.T


def _mirror(index: int, n: int) -> int:
    """Index reflected about the edges of the voxels: -1 is 0, n is n - 1."""
    index %= 2 * n
    return index if index < n else 2 * n - 1 - index
