# SPDX-License-Identifier: BSD-3-Clause
"""Parts of an image read, worked on and written at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from otfuse.tiling.blend import Blend
from otfuse.tiling.plan import Tile, TilePlan

Part = TypeVar("Part")


def in_turns(
    parts: Iterable[Part],
    read: Callable[[Part], Any],
    compute: Callable[[Part, Any], Any],
    write: Callable[[Any], None],
) -> None:
    """Work through parts in order, the next one being read and the last one written meanwhile.

    Parameters
    ----------
    parts : iterable
    read : callable
        Gives what `compute` needs of a part; called in a thread of its own.
    compute : callable
        Takes a part and what was read of it; called in this thread. None: nothing to write.
    write : callable
        Takes what was computed; called in a thread of its own, one part after the other.

    Raises
    ------
    Whatever one of the callables raises; the others then end after what they are doing.
    """
    order = iter(parts)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        part = next(order, None)
        ahead: Future[Any] | None = None if part is None else reader.submit(read, part)
        written: Future[None] | None = None
        while part is not None and ahead is not None:
            array = ahead.result()
            upcoming = next(order, None)
            ahead = None if upcoming is None else reader.submit(read, upcoming)
            made = compute(part, array)
            part = upcoming
            del array
            if made is None:
                continue
            if written is not None:
                written.result()
            written = writer.submit(write, made)
            del made
        if written is not None:
            written.result()


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
    rows = Rows(plan, window)
    in_turns(plan, read, lambda _, array: rows.add(compute(array)), lambda made: write(*made))


class Rows:
    """Tiles' results to blocks of rows that know their place.

    Parameters
    ----------
    plan : TilePlan
    window : {"linear", "smooth"}
    """

    def __init__(self, plan: TilePlan, window: str) -> None:
        self._blender, self._axis, self._row = Blend(plan, window=window), -plan.ndim, 0

    def add(self, result: Any) -> tuple[int, Any] | None:
        """Take in the next tile's result; the first row of a block that is done, and the block."""
        block = self._blender.add(result)
        if block is None:
            return None
        first, self._row = self._row, self._row + block.shape[self._axis]
        return first, block
