# SPDX-License-Identifier: BSD-3-Clause
"""An OME-Zarr image being written: whole chunks in any order, the pyramid behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.io.pyramid import Progress, shrink
from otfuse.io.target import full_disk_named
from otfuse.io.volume import Extents, spans_of
from otfuse.io.zarr_meta import set_windows
from otfuse.io.zarr_store import check_zarr, open_store

WRITTEN_STAYS = "what is complete stays"  # when a disk is full


class VolumeWriter:
    """An OME-Zarr being written.

    Level 0 is written in whole chunks (or shards), in any order and from any process; a level
    above gets a block as soon as this writer has been told of all that it is made of, or in the
    end. Pickled, it is opened again where it arrives.

    Attributes
    ----------
    location : str
    shape, chunks : (t, c, z, y, x)
    unit : (t, c, z, y, x)
        What is written at once: a shard where there are shards, else a chunk.
    dtype : dtype
    levels : list of extents
    """

    def __init__(self, location: str, group: Any) -> None:
        pending = dict(group.attrs).get("otfuse", {}).get("unfinished")
        if pending is None:
            raise ValueError(_finished(location))
        self.location, self._group, self._attributes = location, group, pending
        datasets = pending.get("ome", pending)["multiscales"][0]["datasets"]
        # A block of zeros is written too: a missing one means damage.
        full = {"write_empty_chunks": True}
        self._arrays = [group[entry["path"]].with_config(full) for entry in datasets]
        scales = [entry["coordinateTransformations"][0]["scale"] for entry in datasets]
        self._steps: list[Extents] = [(1, 1, 1, 1, 1)]
        for low, high in pairwise(scales):
            nt, nc, nz, ny, nx = (round(b / a) for a, b in zip(low, high, strict=True))
            self._steps.append((nt, nc, nz, ny, nx))
        self.levels: list[Extents] = [array.shape for array in self._arrays]
        self._units: list[Extents] = [array.shards or array.chunks for array in self._arrays]
        self.shape, self.unit = self.levels[0], self._units[0]
        self.chunks: Extents = self._arrays[0].chunks
        self.dtype = np.dtype(self._arrays[0].dtype)
        self._progress = Progress(self.levels, self._units, self._steps)

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen_volume, (self.location,)

    def write(self, region: Any, array: np.ndarray) -> None:
        """Put pixels into their place: whole chunks (shards), or those at the end of an axis.

        Parameters
        ----------
        region : tuple of int and slice
            As an array with axes (t, c, z, y, x) would be indexed.
        array : ndarray
            Of the region's extents, with or without the axes given as numbers.

        Raises
        ------
        ValueError  if the region cuts a chunk, lies outside, or has other extents than the array.
        TypeError  if the array is of another dtype.
        OSError  if the disk is full (ENOSPC) or the store not writable.
        """
        spans, kept = spans_of(region, self.shape)
        for (a, b), n, extent in zip(spans, self.unit, self.shape, strict=True):
            if a % n or (b % n and b != extent) or a >= b:
                raise ValueError(
                    f"VolumeWriter.write: region must be whole blocks of {self.unit}, got {a}:{b} "
                    f"of an axis with {extent} voxels and blocks of {n}"
                )
        whole = tuple(b - a for a, b in spans)
        named = tuple(n for n, keep in zip(whole, kept, strict=True) if keep)
        if array.shape not in (whole, named):
            raise ValueError(
                f"VolumeWriter.write: array must have the region's extents {named}, got "
                f"{array.shape}"
            )
        if array.dtype != self.dtype:
            raise TypeError(
                f"VolumeWriter.write: array must be of {self.dtype}, got {array.dtype}; convert it"
            )
        self._put(0, tuple(slice(a, b) for a, b in spans), array.reshape(whole))
        self.completed(region)

    def read(self, region: Any) -> np.ndarray:
        """Pixels of level 0 as they are in the store; what is not written yet is 0."""
        return np.asarray(self._arrays[0][region])

    def completed(self, region: Any) -> None:
        """Tell that a region of level 0 is in the store, and write what it completes above.

        `write` does so itself; it is for regions that another process has written.

        Parameters
        ----------
        region : tuple of int and slice
        """
        spans, _ = spans_of(region, self.shape)
        places = (range(a // n, -(-b // n)) for (a, b), n in zip(spans, self.unit, strict=True))
        level, ready = 0, self._progress.add(0, product(*places))
        while ready:
            level += 1
            for block in ready:
                self._build(level, block)
            ready = self._progress.add(level, ready)

    def pending(self, level: int) -> list[tuple[int, ...]]:
        """Blocks of a level above 0 that this writer has not built, in order.

        Those of one level may be built in parallel once the level below is whole.
        """
        return self._progress.pending(level)

    def build(self, level: int, block: Sequence[int]) -> None:
        """Make one block of a level above 0 from the level below and write it whole."""
        self._build(level, tuple(block))
        self._progress.add(level, [tuple(block)])

    def finish(self, provenance: Mapping[str, Any] | None = None) -> None:
        """Build what the pyramid still lacks, then write the metadata: now it is an image.

        Parameters
        ----------
        provenance : mapping, optional
            Takes the place of the one given at first.
        """
        for level in range(1, len(self.levels)):
            for block in self.pending(level):
                self.build(level, block)
        if provenance is not None:
            self._attributes["otfuse"]["provenance"] = dict(provenance)
        set_windows(self._attributes, self._ranges())
        with full_disk_named(self.location, WRITTEN_STAYS):
            self._group.attrs.put(self._attributes)

    def _build(self, level: int, block: Extents | tuple[int, ...]) -> None:
        """One block, by chunks of the level below, so that little of it is held at once."""
        step, below = self._steps[level], self.levels[level - 1]
        unit, extents = self._units[level], self.levels[level]
        start = [i * n for i, n in zip(block, unit, strict=True)]
        stop = [min(a + n, e) for a, n, e in zip(start, unit, extents, strict=True)]
        out = np.empty([b - a for a, b in zip(start, stop, strict=True)], self.dtype)
        # What becomes of one chunk of the level below, where chunks halve evenly.
        piece = [
            c // s if c % s == 0 else c
            for c, s in zip(self._arrays[level - 1].chunks, step, strict=True)
        ]
        for cell in product(*(range(0, n, c) for n, c in zip(out.shape, piece, strict=True))):
            ends = [min(a + c, n) for a, c, n in zip(cell, piece, out.shape, strict=True)]
            sources = tuple(
                slice((o + a) * s, min((o + b) * s, n))
                for o, a, b, s, n in zip(start, cell, ends, step, below, strict=True)
            )
            place = tuple(slice(a, b) for a, b in zip(cell, ends, strict=True))
            out[place] = shrink(np.asarray(self._arrays[level - 1][sources]), step)
        self._put(level, tuple(slice(a, b) for a, b in zip(start, stop, strict=True)), out)

    def _put(self, level: int, region: tuple[slice, ...], array: np.ndarray) -> None:
        with full_disk_named(self.location, WRITTEN_STAYS):
            self._arrays[level][region] = array

    def _ranges(self) -> list[tuple[float, float]]:
        """Lowest and highest value of each channel in the coarsest level."""
        coarse, found = self._arrays[-1], []
        for channel in range(self.shape[1]):
            low, high = np.inf, -np.inf
            for t in range(self.shape[0]):
                for z in range(0, coarse.shape[2], coarse.chunks[2]):
                    block = coarse[t, channel, z : z + coarse.chunks[2]]
                    low, high = min(low, float(block.min())), max(high, float(block.max()))
            found.append((low, high))
        return found


def reopen_volume(location: str | Path) -> VolumeWriter:
    """Go on writing what `create_volume` started.

    Raises
    ------
    FileNotFoundError  if there is nothing.
    ValueError  if it is no Zarr, or one whose writing has finished.
    """
    check_zarr("reopen_volume")
    import zarr
    from zarr.errors import ContainsArrayError, GroupNotFoundError

    store = open_store("reopen_volume", location, read_only=False)
    try:
        group = zarr.open_group(store, mode="r+")
    except (GroupNotFoundError, ContainsArrayError):
        raise ValueError(_finished(str(location))) from None
    return VolumeWriter(str(location), group)


def _finished(location: str) -> str:
    return (
        "reopen_volume: location must be an OME-Zarr whose writing has not finished, got "
        f"{location}"
    )
