# SPDX-License-Identifier: BSD-3-Clause
"""Tiles for Richardson-Lucy: one fast grid for all, as large as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Any

from otfuse.functional import next_fast_shape
from otfuse.functional.rl_tile import RichardsonLucyTile
from otfuse.tiling.plan import Tile, TilePlan
from otfuse.tiling.reach import psf_halo

_RAMP = 4  # voxels over which a tile takes over from its neighbour, at least
_LANES = 16  # of the widest instruction set: a plan does not depend on the processor
Extents = tuple[int, ...]


@dataclass(frozen=True)
class LoopPlan:
    """Tiles of an image, and the boxes on which their estimates live.

    Attributes
    ----------
    tiles : TilePlan
        What is read, restored and blended; neighbours share two halos and a ramp, the halos being
        the plan's margins.
    grid : tuple of int
        Extents of each tile's periodic box.
    before, after : tuple of int
        How far the estimate reaches past the edges of the image.
    """

    tiles: TilePlan
    grid: Extents
    before: Extents
    after: Extents

    def estimate_window(self, tile: Tile) -> tuple[Extents, Extents]:
        """Offset from a tile's first voxel, and extents, of its estimate.

        A tile at an edge of the image has an estimate that reaches past it, as far as light can
        come from, and past its inner edge with what is left of the box; any other fills its box.
        """
        offset, extents = [], []
        for axis, (n, m) in enumerate(zip(self.tiles.shape, tile.shape, strict=True)):
            before, after = self.before[axis], self.after[axis]
            first, last = tile.start[axis] == 0, tile.stop[axis] == n
            total = min(m + before + after, self.grid[axis]) if first or last else m
            offset.append(-before if first else m + after - total if last else 0)
            extents.append(total)
        return tuple(offset), tuple(extents)


def plan_loop(
    shape: Sequence[int],
    psf: Any,
    n_iters: int = 30,
    *,
    max_bytes: int | None = None,
    grid: Sequence[int] | None = None,
    acceleration: str | None = None,
    back_projector: bool = False,
    tv: bool = False,
    device: str = "cpu",
    extra_bytes: Callable[[Extents], int] = lambda tile: 0,
    work_bytes: Callable[[Extents, Extents], int] | None = None,
) -> LoopPlan:
    """The tiles that take least time among those that fit into memory.

    Parameters
    ----------
    shape : sequence of int
        Extents of the image.
    psf : array, shape (kz, ky, kx), or a list of arrays of one shape
        Where the light of one does not decay along an axis, that is not cut.
    n_iters : int
        Decides with the psf and the acceleration what tiles share.
    max_bytes : int, optional
        What working through one tile may take; all memory there is, if not given.
    grid : sequence of int, optional
        Extents of the tiles' boxes, instead of a choice.
    acceleration, back_projector, tv, device
        As for `RichardsonLucyTile.work_bytes`.
    extra_bytes : callable
        What else a tile of given extents takes.
    work_bytes : callable, optional
        What the work on a tile takes, from the extents of its box and its own, where that is
        other than restoring it.

    Raises
    ------
    ValueError  if no tile fits, or the grid cannot hold the psf and its halos.
    """
    psfs = psf if isinstance(psf, list) else [psf]
    matched = not back_projector
    halos = [psf_halo(h, n_iters, acceleration=acceleration, matched=matched) for h in psfs]
    halo = [None if None in line else max(line) for line in zip(*halos, strict=True)]
    psf_shape = tuple(psfs[0].shape)
    lines = [
        _Axis(n, k, h, tv) for n, k, h in zip((int(n) for n in shape), psf_shape, halo, strict=True)
    ]
    if grid is not None:
        return _plan(lines, [axis.checked(g) for axis, g in zip(lines, grid, strict=True)])
    work = work_bytes or partial(
        RichardsonLucyTile.work_bytes,
        acceleration=acceleration,
        back_projector=back_projector,
        tv=tv,
        device=device,
    )
    best: Sequence[int] | None = None
    cost, smallest = float("inf"), 0
    for box in product(*(axis.choices() for axis in lines)):
        takes = prod(axis.pieces(g) for axis, g in zip(lines, box, strict=True)) * _passes(box)
        if takes >= cost:
            continue
        tile = tuple(axis.longest(g) for axis, g in zip(lines, box, strict=True))
        need = work(box, tile) + extra_bytes(tile)
        smallest = min(smallest or need, need)
        if max_bytes is None or need <= max_bytes:
            best, cost = box, takes
    if best is None:
        raise ValueError(
            f"plan_loop: max_bytes must hold the work on a tile, which takes {smallest} bytes, "
            f"got {max_bytes}"
        )
    return _plan(lines, best)


def _passes(box: Sequence[int]) -> float:
    """What an iteration on a box takes, in voxels.

    Half of the passes go over the spectrum, whose frequencies along x fill whole registers.
    """
    spectrum = 2 * _LANES * -(-(box[-1] // 2) // _LANES)
    return prod(box[:-1]) * (box[-1] + spectrum) / 2


@dataclass(frozen=True)
class _Axis:
    """One axis of the image: voxels, those of the PSF, what is of no use at a cut."""

    n: int
    k: int
    halo: int | None
    apart: bool  # a voxel of zeros keeps the ends of the estimate apart

    @property
    def before(self) -> int:
        return self.k - 1 - self.k // 2

    @property
    def estimate(self) -> int:
        return self.n + self.k - 1

    @property
    def whole(self) -> int:
        """The grid of an axis that is not cut."""
        return next_fast_shape([self.estimate + self.apart])[0]

    @property
    def overlap(self) -> int:
        assert self.halo is not None
        return 2 * self.halo + _RAMP

    @property
    def ends(self) -> tuple[int, int]:
        """What the boxes at the first and the last edge hold besides the image.

        Light from beyond, and as much as keeps what is wrong at the inner end of the tile, which
        the box joins to its outer end, away from the image.
        """
        halo = self.halo or 0
        first, last = (min(self.k - 1, max(side, halo)) for side in (self.before, self.k // 2))
        return first, last

    @property
    def least(self) -> int:
        """The grid below which a tile between others might reach past those at the edges."""
        return self.overlap + 2 * max(self.ends) + 1

    def choices(self) -> list[int]:
        """Grids for 1, 2, 3, ... tiles, the largest first."""
        found, pieces = [self.whole], 1
        while self.halo is not None:
            pieces += 1
            total = self.n + (pieces - 1) * self.overlap + sum(self.ends)
            grid = next_fast_shape([-(-total // pieces)])[0]
            if grid < self.least:
                break
            if grid < min(found[-1], self.estimate):
                found.append(grid)
        return found

    def pieces(self, grid: int) -> int:
        """Tiles that it takes; the two at the edges cover less."""
        if grid >= self.estimate:
            return 1
        needed = self.n + sum(self.ends) - self.overlap
        return max(2, -(-needed // (grid - self.overlap)))

    def longest(self, grid: int) -> int:
        """Extent of a tile, at most."""
        return self.n if self.pieces(grid) == 1 else min(grid, self.n - 1)

    def checked(self, grid: int) -> int:
        """A grid given by the caller."""
        if grid >= self.estimate:
            return self.whole
        if self.halo is None:
            raise ValueError(
                f"plan_loop: grid must hold an axis on which the psf's light does not decay, "
                f"{self.estimate} voxels, got {grid}"
            )
        if grid < self.least:
            raise ValueError(
                f"plan_loop: grid must be at least {self.least} for this psf, got {grid}"
            )
        return grid

    def cut(self, grid: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """First and last voxels of the tiles, evenly spread, in the image's coordinates."""
        pieces = self.pieces(grid)
        if pieces == 1:
            return (0,), (self.n,)
        first, last = (min(grid - end, self.n - 1) for end in self.ends)
        lengths = [first, *[grid] * (pieces - 2), last]
        shared, gaps = sum(lengths) - self.n, pieces - 1
        starts = [sum(lengths[:i]) - i * shared // gaps for i in range(pieces)]
        return tuple(starts), tuple(a + n for a, n in zip(starts, lengths, strict=True))


def _plan(lines: Sequence[_Axis], grid: Sequence[int]) -> LoopPlan:
    cuts = [axis.cut(g) for axis, g in zip(lines, grid, strict=True)]
    is_cut = [len(starts) > 1 for starts, _ in cuts]
    pairs = list(zip(lines, is_cut, strict=True))
    tiles = TilePlan(
        shape=tuple(axis.n for axis in lines),
        tile=tuple(max(b - a for a, b in zip(*both, strict=True)) for both in cuts),
        overlap=tuple(axis.overlap if c else 0 for axis, c in pairs),
        margin=tuple((axis.halo or 0) if c else 0 for axis, c in pairs),
        starts=tuple(starts for starts, _ in cuts),
        stops=tuple(stops for _, stops in cuts),
    )
    before = tuple(axis.before for axis in lines)
    after = tuple(axis.k // 2 for axis in lines)
    return LoopPlan(tiles, tuple(grid), before, after)
