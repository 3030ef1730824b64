# SPDX-License-Identifier: BSD-3-Clause
"""The levels of a multi-scale image, and how one is made from the one before."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from otfuse.io.stack import Voxel

Extents = tuple[int, ...]
_SMALL = 256  # a level this wide is shown at once
_ELONGATED = 1.5  # an axis shrinks while its voxels are at most this much longer than the shortest


def plan_levels(shape: Sequence[int], voxel: Voxel) -> tuple[list[Extents], list[Extents]]:
    """Extents of the levels, and how many voxels of the first one of theirs stands for.

    Each level halves y and x, and z once its planes are not much further apart than the pixels,
    until the wider of y and x is at most 256.

    Parameters
    ----------
    shape : (nt, nc, nz, ny, nx)
    voxel : (dz, dy, dx)
        Unknown ones count as equal.

    Returns
    -------
    shapes, factors : list of (t, c, z, y, x)
    """
    known = [edge for edge in voxel if edge is not None]
    edges = [edge or (known[0] if known else 1.0) for edge in voxel]
    shapes: list[Extents] = [tuple(shape)]
    factors: list[Extents] = [(1,) * 5]
    while max(shapes[-1][-2:]) > _SMALL:
        now = [edge * f for edge, f in zip(edges, factors[-1][2:], strict=True)]
        longest = _ELONGATED * min(now[1:])
        step = (1, 1, *(2 if edge <= longest or i else 1 for i, edge in enumerate(now)))
        step = tuple(s if n > 1 else 1 for s, n in zip(step, shapes[-1], strict=True))
        factors.append(tuple(f * s for f, s in zip(factors[-1], step, strict=True)))
        shapes.append(tuple(-(-n // s) for n, s in zip(shapes[-1], step, strict=True)))
    return shapes, factors


class Progress:
    """Which blocks of which level are written, and which others that completes.

    Parameters
    ----------
    shapes : sequence of extents
        Of the levels.
    units : sequence of extents
        Of what is written at once, per level.
    steps : sequence of extents
        How many voxels of the level below one stands for, per level; those of the first are 1.
    """

    def __init__(
        self, shapes: Sequence[Extents], units: Sequence[Extents], steps: Sequence[Extents]
    ) -> None:
        self._shapes, self._units, self._steps = shapes, units, steps
        self._done: list[set[Extents]] = [set() for _ in shapes]
        self._taken: list[set[Extents]] = [set() for _ in shapes]
        self._lock = threading.Lock()

    def add(self, level: int, blocks: Iterable[Extents]) -> list[Extents]:
        """Note that blocks are written; the blocks of the next level that nothing more is in
        the way of, each told once."""
        with self._lock:
            fresh = set(blocks) - self._done[level]
            self._done[level] |= fresh
            if level + 1 == len(self._shapes):
                return []
            above = {parent for block in fresh for parent in self._parents(level, block)}
            ready = [
                block
                for block in sorted(above - self._taken[level + 1])
                if all(child in self._done[level] for child in self._children(level + 1, block))
            ]
            self._taken[level + 1].update(ready)
            return ready

    def pending(self, level: int) -> list[Extents]:
        """Blocks of a level that are not written, in order."""
        counts = (-(-n // u) for n, u in zip(self._shapes[level], self._units[level], strict=True))
        with self._lock:
            return [b for b in product(*map(range, counts)) if b not in self._done[level]]

    def _parents(self, level: int, block: Extents) -> Iterable[Extents]:
        axes = zip(
            block, self._units[level], self._shapes[level], self._steps[level + 1],
            self._units[level + 1], strict=True,
        )  # fmt: skip
        return product(
            *(
                range(i * unit // step // above, (min((i + 1) * unit, n) - 1) // step // above + 1)
                for i, unit, n, step, above in axes
            )
        )

    def _children(self, level: int, block: Extents) -> Iterable[Extents]:
        axes = zip(
            block, self._units[level], self._steps[level], self._units[level - 1],
            self._shapes[level - 1], strict=True,
        )  # fmt: skip
        return product(
            *(
                range(i * unit * step // below, -(-min((i + 1) * unit * step, n) // below))
                for i, unit, step, below, n in axes
            )
        )


def shrink(block: np.ndarray, step: Sequence[int]) -> np.ndarray:
    """Means of 2 voxels along the axes whose step is 2; an odd one at the end stays as it is.

    Parameters
    ----------
    block : ndarray
    step : sequence of 1 or 2
        One per axis.

    Returns
    -------
    ndarray of the block's dtype, integers rounded
    """
    kind, size = block.dtype.kind, block.dtype.itemsize
    exact = np.float64 if size > (4 if kind == "f" else 2) else np.float32
    values = block
    for axis, factor in enumerate(step):
        if factor == 2 and values.shape[axis] > 1:
            values = _pairs(values, axis, exact)
    return (np.rint(values) if kind in "iub" else values).astype(block.dtype, copy=False)


def _pairs(values: np.ndarray, axis: int, dtype: type) -> np.ndarray:
    n = values.shape[axis]
    lead: tuple[slice, ...] = (slice(None),) * axis
    out = np.empty((*values.shape[:axis], -(-n // 2), *values.shape[axis + 1 :]), dtype)
    whole = out[(*lead, slice(0, n // 2))]
    first, second = values[(*lead, slice(0, n - 1, 2))], values[(*lead, slice(1, n, 2))]
    np.add(first, second, out=whole, dtype=dtype)
    whole *= 0.5
    if n % 2:
        out[(*lead, slice(n // 2, None))] = values[(*lead, slice(n - 1, None))]
    return out
