# SPDX-License-Identifier: BSD-3-Clause
"""The tiles that waste least on overlap among those that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod

from otfuse import _checks
from otfuse.tiling.plan import TilePlan, plan_tiles

Extents = tuple[int, ...]
_STEP = 0.95  # each candidate at most this part of the one before


def plan_within(
    shape: Sequence[int],
    bytes_of: Callable[[Extents], int],
    max_bytes: int,
    *,
    overlap: int,
    multiple: int = 1,
    margin: int = 0,
) -> TilePlan:
    """Tiles whose work fits into `max_bytes` and whose voxels, overlap included, are fewest.

    Parameters
    ----------
    shape : sequence of int
        Extents of the axes to cut.
    bytes_of : callable
        Memory that working through tiles of given extents takes; grows with each extent.
    max_bytes : int
    overlap, multiple, margin : int
        As for `plan_tiles`, for the axes that are cut.

    Returns
    -------
    TilePlan

    Raises
    ------
    ValueError  if not even the smallest tile fits.
    """
    _checks.at_least("plan_within", "max_bytes", max_bytes, 1)
    whole = tuple(int(n) for n in shape)
    choices = [_extents(n, overlap, multiple) for n in whole]
    best: TilePlan | None = None
    for rest in product(*choices[1:]):
        for first in choices[0]:
            if bytes_of((first, *rest)) <= max_bytes:
                plan = _plan(whole, (first, *rest), overlap, multiple, margin)
                if best is None or _voxels(plan) < _voxels(best):
                    best = plan
                break  # shorter ones waste more
    if best is None:
        smallest = tuple(choice[-1] for choice in choices)
        raise ValueError(
            f"plan_within: max_bytes must hold the work on a tile of {smallest}, which takes "
            f"{bytes_of(smallest)} bytes, got {max_bytes}"
        )
    return best


def _plan(whole: Extents, tile: Extents, overlap: int, multiple: int, margin: int) -> TilePlan:
    is_cut = [t < n for t, n in zip(tile, whole, strict=True)]
    overlaps = [overlap if c else 0 for c in is_cut]
    margins = [margin if c else 0 for c in is_cut]
    lattice = [multiple if c else 1 for c in is_cut]
    return plan_tiles(whole, tile, overlaps, multiple=lattice, margin=margins)


def _extents(n: int, overlap: int, multiple: int) -> list[int]:
    """Extents of tiles that cover n voxels in 1, 2, 3, ... pieces, the longest first."""
    found, pieces = [n], 2
    while True:
        step = -(-(n - overlap) // pieces)
        step = -(-step // multiple) * multiple
        if step < max(overlap, multiple):
            return found
        if step + overlap <= _STEP * found[-1]:
            found.append(step + overlap)
        pieces += 1


def _voxels(plan: TilePlan) -> int:
    return prod(
        sum(plan.end(axis, i) - start for i, start in enumerate(starts))
        for axis, starts in enumerate(plan.starts)
    )
