# SPDX-License-Identifier: BSD-3-Clause
"""Where the beads of a stack are, and which of them stand alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Voxels that a bead's light is smoothed over before it is looked for.
_SMOOTHING = 1.0
# What stands out: this many standard deviations of the smoothed noise.
_ABOVE_NOISE = 8.0
# Neighbours as bright as this share of a bead spoil it; fainter maxima are its own rings.
_NEIGHBOUR = 0.1
# Maxima laterally as near as this, in voxels, are of one bead: aberrated ones have several along z.
_SAME_COLUMN = 3
# Voxels that share the highest value of the stack: a bead's peak is cut off.
_SATURATED = 3

Place = tuple[int, ...]


def smooth(light: Tensor, sigma: float = _SMOOTHING) -> Tensor:
    """Return the light under a small Gaussian along each axis, mirrored at the edges."""
    reach = max(1, round(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=light.dtype, device=light.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis, n in enumerate(light.shape):
        index = torch.arange(-reach, n + reach, device=light.device).clamp(0, n - 1)
        longer = light.index_select(axis, index)
        light = sum((longer.narrow(axis, i, n) * w for i, w in enumerate(kernel)), 0 * light)
    return light


def candidates(light: Tensor) -> list[tuple[Place, float]]:
    """Return the local maxima that stand out from the noise, brightest first, and their height."""
    calm = smooth(light)
    ground = calm.median()
    noise = 1.4826 * (calm - ground).abs().median()
    highest = _local_maximum(calm)
    least = ground + torch.maximum(_ABOVE_NOISE * noise, 0.02 * (calm.max() - ground))
    found = torch.nonzero((calm == highest) & (calm > least))
    heights = (calm - ground)[tuple(found.T)]
    order = heights.argsort(descending=True)
    places = [tuple(place) for place in found[order].tolist()]
    return list(zip(places, heights[order].tolist(), strict=True))


def _local_maximum(light: Tensor) -> Tensor:
    """Return the maximum over 5 voxels along each axis."""
    for axis, n in enumerate(light.shape):
        index = torch.arange(-2, n + 2, device=light.device).clamp(0, n - 1)
        light = light.index_select(axis, index).unfold(axis, 5, 1).amax(-1)
    return light


def beads(found: Sequence[tuple[Place, float]]) -> list[tuple[Place, float]]:
    """Return one place per bead, brightest first: maxima above or below it are its own."""
    kept: list[tuple[Place, float]] = []
    for place, height in found:
        columns = (other for other, _ in kept)
        if not any(_distance(place[-2:], column[-2:]) <= _SAME_COLUMN for column in columns):
            kept.append((place, height))
    return kept


def _distance(one: Place, other: Place) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def usual_extents(found: Sequence[tuple[Place, float]], shape: Sequence[int]) -> tuple[int, ...]:
    """Return extents that fit: 41 laterally, along z what most beads have above and below them."""
    extents = [min(41, n - 1 + n % 2) for n in shape]
    if len(shape) == 3:
        room = sorted(min(place[0], shape[0] - 1 - place[0]) for place, _ in found)
        extents[0] = 2 * room[len(room) // 4] + 1
    return tuple(extents)


def verdicts(
    found: Sequence[tuple[Place, float]], light: Tensor, extents: Sequence[int]
) -> dict[Place, str]:
    """Return what is wrong with each bead: "edge", "clump", "saturated", or nothing ("")."""
    top = light.max()
    result = {}
    for place, height in found:
        result[place] = ""
        corner = [p - k // 2 for p, k in zip(place, extents, strict=True)]
        if any(c < 0 or c + k > n for c, k, n in zip(corner, extents, light.shape, strict=True)):
            result[place] = "edge"
        elif any(
            other != place
            and strength > _NEIGHBOUR * height
            and all(abs(a - b) <= k // 2 for a, b, k in zip(place, other, extents, strict=True))
            for other, strength in found
        ):
            result[place] = "clump"
        elif int((window(light, place, [5] * light.ndim) == top).sum()) >= _SATURATED:
            result[place] = "saturated"
    return result


def window(light: Tensor, place: Place, extents: Sequence[int]) -> Tensor:
    """Return the voxels around a place, centre at k // 2, as far as there are any."""
    return light[
        tuple(
            slice(max(0, p - k // 2), p - k // 2 + k) for p, k in zip(place, extents, strict=True)
        )
    ]
