# SPDX-License-Identifier: BSD-3-Clause
"""Results of tiles to one whole, by weights that sum to 1, holding no more than a row of tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype
from otfuse.tiling.plan import Tile, TilePlan, cut

WINDOWS = ("linear", "smooth")


class Blend:
    """Blends the results of tiles, given in the plan's order, into blocks of whole rows.

    Along each axis tile i takes over from tile i - 1 by a ramp r_i that rises from 0 to 1 over the
    region they share; its weight is `r_i - r_(i+1)`, and that of a tile the product over the axes.
    The weights of all tiles sum to 1 at each voxel, whatever the overlap.

    Parameters
    ----------
    plan : TilePlan
    window : {"linear", "smooth"}
        Shape of the ramp: straight, or half a cosine.
    """

    def __init__(self, plan: TilePlan, *, window: str = "linear") -> None:
        _checks.one_of("Blend", "window", window, WINDOWS)
        self.plan = plan
        self._window = window
        self._tiles = iter(plan)
        self._given = 0
        self._first = 0
        self._sum: Tensor | None = None
        self._to_kind: Callable[[Tensor], Any] | None = None

    def add(self, result: Any) -> Any | None:
        """Take in the next tile's result; a block of the whole once no later tile touches it.

        Parameters
        ----------
        result : array, shape (..., *tile.shape)

        Returns
        -------
        array or None
            The next rows of the first cut axis, complete along all others; of the kind given in.

        Raises
        ------
        ValueError  if the result is not of the tile's extents, or there is no further tile.
        """
        tile = next(self._tiles, None)
        if tile is None:
            raise ValueError(f"Blend: results must be as many as tiles, got over {len(self.plan)}")
        values = to_tensor("Blend", "result", result)
        if tuple(values.shape[-self.plan.ndim :]) != tile.shape:
            raise ValueError(
                f"Blend: result must have the tile's extents {tile.shape} last, "
                f"got shape {tuple(values.shape)}"
            )
        values = values.to(working_dtype(values))
        if self._to_kind is None:
            self._to_kind = back_to_kind(result)
        self._accumulate(tile, values)
        self._given += 1
        in_row = len(self.plan) // self.plan.grid[0]
        return self._finished(tile) if self._given % in_row == 0 else None

    def _accumulate(self, tile: Tile, values: Tensor) -> None:
        if self._sum is None:
            lead = values.shape[: values.ndim - self.plan.ndim]
            rows = min(self.plan.tile[0], self.plan.shape[0])
            self._sum = values.new_zeros((*lead, rows, *self.plan.shape[1:]))
        weight = values.new_ones(())
        for axis, i in enumerate(tile.index):
            # One number does for an axis that is not cut.
            line = [1.0]
            if self.plan.grid[axis] > 1:
                line = tile_weight(self.plan, axis, i, self._window)
            weight = weight[..., None] * torch.tensor(line, dtype=torch.float64).to(values)
        place: tuple[Any, ...] = (..., slice(0, tile.shape[0]), *tile.slices[1:])
        self._sum[place].addcmul_(values, weight)

    def _finished(self, tile: Tile) -> Any:
        """Hand out the rows before the next row of tiles, and move the others to the front."""
        assert self._sum is not None and self._to_kind is not None
        starts, axis = self.plan.starts[0], -self.plan.ndim
        last = tile.index[0] + 1 == len(starts)
        n = (self.plan.shape[0] if last else starts[tile.index[0] + 1]) - self._first
        # The finished rows stay where they are; those that go on move to a buffer of their own.
        before, done = self._sum, self._sum.narrow(axis, 0, n)
        self._sum = None
        if not last:
            n_kept = tile.stop[0] - self._first - n
            self._sum = torch.zeros_like(before)
            self._sum.narrow(axis, 0, n_kept).copy_(before.narrow(axis, n, n_kept))
        self._first += n
        return self._to_kind(done)


def blend(plan: TilePlan, results: Iterable[Any], *, window: str = "linear") -> Iterator[Any]:
    """Blocks of the whole, in order along the first cut axis, from the tiles' results in order.

    Parameters
    ----------
    plan : TilePlan
    results : iterable of arrays, shapes (..., *tile.shape)
        One per tile of the plan; taken one at a time.
    window : {"linear", "smooth"}

    Yields
    ------
    Arrays of the kind given, complete along all axes but the first of the plan: concatenated along
    that, they are the whole.

    Raises
    ------
    ValueError  if results are too few, too many, or of other extents than their tiles.
    """
    blender, given = Blend(plan, window=window), 0
    for result in results:
        block = blender.add(result)
        given += 1
        if block is not None:
            yield block
    if given != len(plan):
        raise ValueError(f"blend: results must be as many as tiles, got {given} for {len(plan)}")


def map_tiles(
    function: Callable[[Any], Any],
    array: Any,
    plan: TilePlan,
    *,
    window: str = "linear",
    batch: int = 1,
) -> Iterator[Any]:
    """Blocks of what a function makes of an array, computed tile by tile.

    Parameters
    ----------
    function : callable
        Takes (n, *tile.shape) and gives as much: n tiles of one shape, n up to `batch`.
    array : numpy or torch array, shape plan.shape
    plan : TilePlan
    window : {"linear", "smooth"}
    batch : int
        Tiles handed over at once, where neighbours in the plan's order have one shape.

    Yields
    ------
    Arrays, as `blend` does.
    """

    def results() -> Iterator[Any]:
        for _, alike in groupby(plan, key=lambda tile: tile.shape):
            while tiles := list(islice(alike, batch)):
                parts = [to_tensor("map_tiles", "array", cut(array, tile)) for tile in tiles]
                yield from function(back_to_kind(array)(torch.stack(parts)))

    return blend(plan, results(), window=window)


def tile_weight(plan: TilePlan, axis: int, i: int, window: str) -> list[float]:
    """Weights of the i-th tile along one axis, voxel by voxel."""
    start, stop = plan.starts[axis][i], plan.end(axis, i)
    rise = _ramp(plan, axis, i, window) if i > 0 else None
    fall = _ramp(plan, axis, i + 1, window) if i + 1 < plan.grid[axis] else None
    places = range(start, stop)
    return [(rise(x) if rise else 1.0) - (fall(x) if fall else 0.0) for x in places]


def _ramp(plan: TilePlan, axis: int, i: int, window: str) -> Callable[[int], float]:
    a, b = plan.ramp(axis, i)

    def linear(x: int) -> float:
        """The share of tile i in the middle of voxel x."""
        if b <= a:
            return float(x >= a)
        return min(max((x + 0.5 - a) / (b - a), 0.0), 1.0)

    if window == "linear":
        return linear
    return lambda x: 0.5 - 0.5 * math.cos(math.pi * linear(x))
