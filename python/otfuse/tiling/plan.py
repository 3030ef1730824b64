# SPDX-License-Identifier: BSD-3-Clause
"""Where tiles lie: equal extents, origins on a lattice, a shared region between neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from otfuse import _checks


@dataclass(frozen=True)
class Tile:
    """One tile: its place in the grid of tiles, and the part of the whole that it covers.

    Attributes
    ----------
    index : tuple of int
        Number of the tile along each axis.
    start, stop : tuple of int
        First voxel of each axis, and the one behind the last.
    """

    index: tuple[int, ...]
    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        """What cuts it out of the last axes of the whole."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))


@dataclass(frozen=True)
class TilePlan:
    """Tiles that cover a whole; iterating gives them with the last axis fastest.

    Attributes
    ----------
    shape, tile, overlap, margin : tuple of int
        Extents of the whole and of a tile, voxels that neighbours share at least, and how many at
        a tile's inner edges are not used; one per axis.
    starts, stops : tuple of tuple of int
        First voxels along each axis, and those behind the last.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    overlap: tuple[int, ...]
    margin: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    stops: tuple[tuple[int, ...], ...]

    @property
    def ndim(self) -> int:
        """Number of axes that are cut."""
        return len(self.shape)

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of tiles along each axis."""
        return tuple(len(starts) for starts in self.starts)

    def __len__(self) -> int:
        return prod(self.grid)

    def __iter__(self) -> Iterator[Tile]:
        return map(self.at, product(*(range(n) for n in self.grid)))

    def at(self, index: Sequence[int]) -> Tile:
        """The tile of a place in the grid of tiles."""
        start = tuple(starts[i] for starts, i in zip(self.starts, index, strict=True))
        stop = tuple(self.end(axis, i) for axis, i in enumerate(index))
        return Tile(tuple(index), start, stop)

    def end(self, axis: int, i: int) -> int:
        """The voxel behind the last of the i-th tile along an axis."""
        return self.stops[axis][i]

    def ramp(self, axis: int, i: int) -> tuple[int, int]:
        """Edges between which tile i takes over from tile i - 1 along an axis.

        The margins at either end of the region that the two share lie outside.
        """
        a = self.starts[axis][i] + self.margin[axis]
        return a, self.end(axis, i - 1) - self.margin[axis]


def plan_tiles(
    shape: Sequence[int],
    tile: int | Sequence[int],
    overlap: int | Sequence[int],
    *,
    multiple: int | Sequence[int] = 1,
    margin: int | Sequence[int] = 0,
) -> TilePlan:
    """Tiles of one extent that cover a whole, neighbours sharing at least `overlap` voxels.

    An axis no longer than a tile is not cut. The last tile of an axis is moved inwards and shares
    more; only where the lattice of origins forbids that, it is shorter by less than `multiple`.

    Parameters
    ----------
    shape : sequence of int
        Extents of the axes to cut.
    tile, overlap : int or one per axis
        Extents of a tile and of what neighbours share, in voxels.
    multiple : int or one per axis
        Origins are multiples of this: what a network pools by, so that tiles and the whole are
        pooled alike.
    margin : int or one per axis
        Voxels next to an inner edge of a tile that are left out of the blending: the reach of the
        operation, where the tiled result has to be the untiled one.

    Returns
    -------
    TilePlan

    Raises
    ------
    ValueError  if a tile does not exceed the overlap by `multiple`, or the overlap is below two
        margins.
    """
    extents = _per_axis("shape", shape, len(shape), 1)
    n = len(extents)
    tiles = _per_axis("tile", tile, n, 1)
    shared = _per_axis("overlap", overlap, n, 0)
    lattice = _per_axis("multiple", multiple, n, 1)
    margins = _per_axis("margin", margin, n, 0)
    for t, o, m, e in zip(tiles, shared, lattice, margins, strict=True):
        if t - o < m:
            raise ValueError(
                f"plan_tiles: tile must exceed overlap by at least {m}, got tile {t} and overlap "
                f"{o}; choose larger tiles or less overlap"
            )
        if o < 2 * e:
            raise ValueError(
                f"plan_tiles: overlap must be at least twice the margin, got overlap {o} and "
                f"margin {e}"
            )
    axes = zip(extents, tiles, shared, lattice, strict=True)
    starts = tuple(_starts(*axis) for axis in axes)
    stops = tuple(
        tuple(min(a + t, n) for a in line)
        for line, t, n in zip(starts, tiles, extents, strict=True)
    )
    return TilePlan(extents, tiles, shared, margins, starts, stops)


def cut(array: Any, tile: Tile) -> Any:
    """The part of an array that a tile covers: a view of its last axes."""
    return array[(..., *tile.slices)]


def _starts(extent: int, tile: int, overlap: int, multiple: int) -> tuple[int, ...]:
    step = (tile - overlap) // multiple * multiple
    last = -(-max(extent - tile, 0) // multiple) * multiple
    return (*range(0, last, step), last)


def _per_axis(name: str, value: int | Sequence[int], n: int, least: int) -> tuple[int, ...]:
    values = (value,) * n if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != n or n == 0:
        raise ValueError(f"plan_tiles: {name} must have one number per axis, got {value!r}")
    for v in values:
        _checks.at_least("plan_tiles", name, v, least)
    return values
