# SPDX-License-Identifier: BSD-3-Clause
"""Tiles read, worked on and written at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from otfuse.tiling.blend import Blend
from otfuse.tiling.plan import Tile, TilePlan


def stream_tiles(
    plan: TilePlan,
    read: Callable[[Tile], Any],
    compute: Callable[[Any], Any],
    write: Callable[[int, Any], None],
    *,
    window: str = "linear",
) -> None:
    """Work through a plan with the next tile being read, and the last rows written, meanwhile.

    Besides what `compute` takes there are in memory: two tiles that were read, one result, the rows
    that are being blended, and one block of rows being written.

    Parameters
    ----------
    plan : TilePlan
    read : callable
        Gives a tile's array; called in a thread of its own.
    compute : callable
        Turns that into the tile's result; called in this thread.
    write : callable
        Takes the first row of a block along the first cut axis, and the block, complete along the
        other axes; called in a thread of its own, one block after the other.
    window : {"linear", "smooth"}

    Raises
    ------
    Whatever one of the callables raises; the others then end after what they are doing.
    """
    blender, row, tiles = Blend(plan, window=window), 0, iter(plan)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead: Future[Any] | None = reader.submit(read, next(tiles))
        written: Future[None] | None = None
        while ahead is not None:
            array = ahead.result()
            upcoming = next(tiles, None)
            ahead = None if upcoming is None else reader.submit(read, upcoming)
            block = blender.add(compute(array))
            del array
            if block is None:
                continue
            if written is not None:
                written.result()
            written = writer.submit(write, row, block)
            row += block.shape[-plan.ndim]
            del block
        if written is not None:
            written.result()
