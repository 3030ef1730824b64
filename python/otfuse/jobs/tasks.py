# SPDX-License-Identifier: BSD-3-Clause
"""The two kinds of work of a job: to restore a tile, and to put a block together from tiles.

A tile's result, times its weights, waits in a file of its own until all blocks that it is part of
are written. A block is the sum of its parts in the order of the tiles, so that it does not matter
who restored which, and when.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from otfuse.io import ChunkError, Volume, VolumeWriter
from otfuse.io.target import full_disk_named
from otfuse.io.zarr_writer import WRITTEN_STAYS
from otfuse.jobs.ledger import Block
from otfuse.tiling import Tile, TilePlan, restore_on_device, shuttle_to
from otfuse.tiling.blend import tile_weight

TileId = tuple[int, ...]  # time point, channel, and the tile's number along z, y and x
Span = tuple[int, int]
_SPARE = ".spare"
# In a process one tile is computed at a time, while others are read and written.
_COMPUTING = threading.Lock()


@dataclass(frozen=True)
class Failure:
    """A tile that could not be restored, and why."""

    tile: TileId
    start: tuple[int, ...]
    stop: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Job:
    """What every worker has to know; pickled, it opens source and target where it arrives.

    Attributes
    ----------
    source : Volume
    target : VolumeWriter
        Float32, of the source's extents; its blocks hold one time point and channel each.
    scratch : Path
        Folder for results of tiles.
    plan : TilePlan
        Over (z, y, x).
    restorers : tuple of callable
        One per image, channels fastest: (tile, counts) to float32 of the tile's extents. Counts
        are float32, and may be overwritten. One with a `device` is asked in stages if that is none
        of the host's, see `otfuse.tiling.device`.
    """

    source: Volume
    target: VolumeWriter
    scratch: Path
    plan: TilePlan
    restorers: tuple[Callable[[Tile, np.ndarray], np.ndarray], ...]

    def tiles(self) -> list[TileId]:
        """All tiles, in the order in which they are restored and added."""
        nt, nc = self.source.shape[:2]
        return list(product(range(nt), range(nc), *map(range, self.plan.grid)))

    def release(self, tile: TileId) -> None:
        """A tile's result is of no more use; its file serves another one."""
        path = self.part(tile)
        with suppress(FileNotFoundError):
            path.rename(path.with_suffix(_SPARE))

    def blocks_of(self, tile: TileId) -> Iterator[Block]:
        """The blocks of the output that a tile is part of."""
        unit = self.target.unit[2:]
        ranges = (
            range(a // n, -(-b // n)) for (a, b), n in zip(self._box(tile), unit, strict=True)
        )
        return ((*tile[:2], *place) for place in product(*ranges))

    def part(self, tile: TileId) -> Path:
        """The file of a tile's result."""
        return self.scratch / ("-".join(map(str, tile)) + ".npy")

    def restore(self, tile: TileId) -> Failure | None:
        """Restore a tile into its file; what is wrong with the tile alone is not raised.

        Raises
        ------
        OSError  if the disk is full.
        """
        cut = self.plan.at(tile[2:])
        try:
            counts = self.source.read_float32((*tile[:2], *cut.slices))
            result = _restored(
                self.restorers[tile[0] * self.source.shape[1] + tile[1]], cut, counts
            )
            if not np.isfinite(result.max()):
                raise ValueError("its result is not finite; look at the PSF and the background")
        except (ChunkError, ValueError) as error:
            return Failure(tile, cut.start, cut.stop, str(error))
        del counts
        box = self._box(tile)
        inside = tuple(slice(a - s, b - s) for (a, b), s in zip(box, cut.start, strict=True))
        weighted = result[inside]
        for axis, i in enumerate(tile[2:]):
            if self.plan.grid[axis] == 1:
                continue
            line = np.array(tile_weight(self.plan, axis, i, "smooth"), np.float32)[inside[axis]]
            weighted = weighted.swapaxes(0, axis)
            for place in np.flatnonzero(line != 1):  # the ramps alone
                weighted[place] *= line[place]
            weighted = weighted.swapaxes(0, axis)
        _save(self.part(tile), weighted)
        return None

    def merge(self, block: Block, tiles: tuple[TileId, ...]) -> str:
        """Write a block from the files of its tiles, given in order; the checksum of its voxels.

        Raises
        ------
        OSError  if the disk is full, or a file is not there.
        """
        spans = self.spans(block)
        out = np.zeros([b - a for a, b in spans], np.float32)
        for tile in tiles:
            box = self._box(tile)
            both = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(spans, box, strict=True)]
            here = tuple(slice(a - s, b - s) for (a, b), (s, _) in zip(both, spans, strict=True))
            there = tuple(slice(a - s, b - s) for (a, b), (s, _) in zip(both, box, strict=True))
            out[here] += np.load(self.part(tile), mmap_mode="r")[there]
        self.target.write((*block[:2], *(slice(*span) for span in spans)), out)
        return _checksum(out)

    def holds(self, block: Block, checksum: str) -> bool:
        """Whether a block in the store is what was written."""
        try:
            found = self.target.read((*block[:2], *(slice(*s) for s in self.spans(block))))
        except (OSError, RuntimeError, ValueError):  # what a codec makes of damage
            return False
        return _checksum(found) == checksum

    def spans(self, block: Block) -> list[Span]:
        """First voxels of a block along z, y and x, and those behind the last."""
        axes = zip(block[2:], self.target.unit[2:], self.plan.shape, strict=True)
        return [(i * n, min((i + 1) * n, extent)) for i, n, extent in axes]

    def _box(self, tile: TileId) -> list[Span]:
        """Where a tile's weights are not 0."""
        plan, spans = self.plan, []
        for axis, i in enumerate(tile[2:]):
            first = plan.ramp(axis, i)[0] if i else plan.starts[axis][i]
            more = i + 1 < plan.grid[axis]
            last = plan.ramp(axis, i + 1)[1] if more else plan.stops[axis][i]
            spans.append((first, last))
        return spans


def _restored(restorer: Any, tile: Tile, counts: np.ndarray) -> np.ndarray:
    """A tile's result, when it is this thread's turn to compute."""
    shuttle = shuttle_to(getattr(restorer, "device", "cpu"))
    if shuttle is not None:
        return restore_on_device(shuttle, restorer, tile, counts, _COMPUTING)
    with _COMPUTING:
        result: np.ndarray = restorer(tile, counts)
    return result


def _save(path: Path, array: np.ndarray) -> None:
    """A file that is complete as soon as it has its name."""
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with full_disk_named(path.parent, WRITTEN_STAYS), _opened(partial) as file:
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for plane in array:  # no copy of the whole
                file.write(np.ascontiguousarray(plane).data)
            file.truncate()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _opened(partial: Path) -> BinaryIO:
    """A file to be written: where there is one of a tile that is done with, that one.

    To write over pages that the system has at hand takes a tenth of the time of fresh ones.
    """
    for spare in partial.parent.glob(f"*{_SPARE}"):
        with suppress(FileNotFoundError):  # another thread or worker was first
            spare.rename(partial)
            return partial.open("r+b")
    return partial.open("wb")


def _checksum(array: np.ndarray) -> str:
    import google_crc32c

    return f"{google_crc32c.value(np.ascontiguousarray(array)):08x}"
