# SPDX-License-Identifier: BSD-3-Clause
"""Blur by motion, and two blurs in a row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from otfuse._checks import one_of
from otfuse.functional import fft_convolve

from .arrays import as_tensor, like

# Points that a path is followed in, per voxel of its length.
_STEPS = 8


def motion(
    path: Any,
    *,
    voxel: Sequence[float] | None = None,
    times: Any = None,
    origin: str = "mean",
    shape: Sequence[int] | None = None,
) -> Any:
    """Return the PSF of an image that moves during the exposure.

    `h(r) = mean over time of delta(r - p(t))`, the path straight and of even speed from one point
    to the next, each moment spread over the voxels around it by linear interpolation. `combine`
    puts the blur of the optics on top.

    Parameters
    ----------
    path : array, shape (n, ndim)
        Where the image is, points in time; columns (z, y, x) or (y, x). In micrometres with
        `voxel`, else in voxels. A stage that drifts moves the image the other way or the same,
        as the microscope is built.
    voxel : sequence of float, optional
        Edges of a voxel, micrometres, one per column.
    times : array, shape (n,), optional
        When the image was there, never falling; equal steps if not given.
    origin : "mean", "start" or "none"
        What lies at k // 2: the mean position, so that nothing is displaced on the whole; the first
        one, so that the restored image is the one at the start; or the zero of the path.
    shape : sequence of int, optional
        Extents; the smallest odd ones that hold the path if not given.

    Returns
    -------
    array, shape `shape`, sum 1, float64 for a float64 path, else float32; of the path's kind.
    Differentiable in: path, times.

    Raises
    ------
    ValueError  if path is not a list of points, leaves `shape`, or `times` fit it not.
    """
    points = as_tensor("motion", path, 2, "path")
    if points.ndim != 2 or points.shape[1] > 3 or not bool(torch.isfinite(points).all()):
        raise ValueError(
            "motion: path must be finite points (n, ndim) of at most 3 coordinates, got shape "
            f"{tuple(points.shape)}"
        )
    one_of("motion", "origin", origin, ("mean", "start", "none"))
    places = points.double() / _edges(voxel, points)
    durations = _durations(times, places)
    moments, weights = _followed(places, durations)
    if origin == "mean":
        moments = moments - (weights[:, None] * moments).sum(0)
    elif origin == "start":
        moments = moments - places[0]
    extents = _extents(moments, shape)
    return like(_spread(moments, weights, extents).to(points.dtype), path)


def combine(first: Any, second: Any) -> Any:
    """Return the PSF of two blurs in a row: their convolution, as large as it gets.

    Parameters
    ----------
    first, second : array, shape (ky, kx) or (kz, ky, kx)
        PSFs of one rank on the same voxels, centres at k // 2, such as those of the optics and of
        a motion.

    Returns
    -------
    array
        Of the kind of `first`; centre at k // 2, sum the product of the sums.  Differentiable in
        both.

    Raises
    ------
    ValueError  if they are not of one rank.
    """
    one, other = as_tensor("combine", first, 1), as_tensor("combine", second, 1)
    if one.ndim != other.ndim:
        raise ValueError(
            f"combine: second must have as many axes as first, got {other.ndim} and {one.ndim}"
        )
    # Room for every sum of two offsets; one voxel more where both extents are even.
    pads: list[int] = []
    for n, k in zip(reversed(one.shape), reversed(other.shape), strict=True):
        before = k // 2
        pads += [before, k - 1 - before + (n % 2 == 0 and k % 2 == 0)]
    whole = torch.nn.functional.pad(one, pads)
    blurred = fft_convolve(whole, other.to(whole), boundary="circular")
    return like(blurred.clamp(min=0), first)


def _edges(voxel: Sequence[float] | None, points: Tensor) -> Tensor:
    count = points.shape[1]
    edges = (1.0,) * count if voxel is None else tuple(map(float, voxel))
    if len(edges) != count or not all(0 < d < float("inf") for d in edges):
        raise ValueError(
            f"motion: voxel must be {count} positive lengths, one per column of path, got {voxel}"
        )
    return torch.tensor(edges, dtype=torch.float64, device=points.device)


def _durations(times: Any, places: Tensor) -> Tensor:
    """Return the share of the exposure that each stretch of the path takes."""
    stretches = len(places) - 1
    if times is None:
        return torch.full_like(places[:-1, 0], 1 / max(stretches, 1))
    when = as_tensor("motion", times, 1, "times").to(places)
    if when.shape != (len(places),) or not bool((when.diff() >= 0).all() and when[-1] > when[0]):
        raise ValueError(
            f"motion: times must be {len(places)} moments that never fall and are not all the "
            f"same, one per point of path, got shape {tuple(when.shape)}"
        )
    return when.diff() / (when[-1] - when[0])


def _followed(places: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
    """Return points along the path, close together, and the share of time spent at each."""
    if len(places) == 1:
        return places, torch.ones_like(places[:, 0])
    steps = places.diff(dim=0)
    counts = 1 + (_STEPS * steps.detach().abs().amax(1)).ceil().long()
    stretch = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    number = torch.arange(len(stretch), device=counts.device) - (counts.cumsum(0) - counts)[stretch]
    along = (number + 0.5) / counts[stretch]
    moments = places[:-1][stretch] + along[:, None] * steps[stretch]
    return moments, (durations / counts)[stretch]


def _extents(moments: Tensor, shape: Sequence[int] | None) -> tuple[int, ...]:
    reach = moments.detach()
    if shape is None:
        # Rounding must not ask for a voxel that would stay empty.
        halves = (reach.abs().amax(0) - 1e-9).ceil().clamp(min=0).long().tolist()
        return tuple(2 * half + 1 for half in halves)
    extents = tuple(int(n) for n in shape)
    low = torch.tensor([-(n // 2) for n in extents], device=reach.device)
    high = torch.tensor([n - 1 - n // 2 for n in extents], device=reach.device)
    fits = len(extents) == reach.shape[1] and min(extents) > 0
    if not fits or bool(((reach < low - 1e-9) | (reach > high + 1e-9)).any()):
        far = ", ".join(f"{value:.3g}" for value in reach.abs().amax(0).tolist())
        raise ValueError(
            f"motion: shape must hold the path, which goes {far} voxels from the centre, "
            f"got {tuple(shape)}"
        )
    return extents


def _spread(moments: Tensor, weights: Tensor, extents: tuple[int, ...]) -> Tensor:
    """Return the weights gathered on the voxels, each by linear interpolation."""
    psf = torch.zeros(extents, dtype=torch.float64, device=moments.device).flatten()
    place = moments + torch.tensor([n // 2 for n in extents], device=moments.device)
    base = place.detach().floor()
    part = place - base
    for corner in product((0, 1), repeat=len(extents)):
        index = torch.zeros_like(base[:, 0], dtype=torch.long)
        share = weights
        for axis, (n, step) in enumerate(zip(extents, corner, strict=True)):
            # The last voxel's neighbour beyond the edge has no share.
            index = index * n + (base[:, axis].long() + step).clamp(0, n - 1)
            share = share * (part[:, axis] if step else 1 - part[:, axis])
        psf = psf.index_add(0, index, share)
    return psf.reshape(extents)
