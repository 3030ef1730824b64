# SPDX-License-Identifier: BSD-3-Clause
"""The pixels of one file into another kind of file, without holding more than a few blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.io.integers import DTYPES, check_storable, factors_of, scale_record, to_integers
from otfuse.io.rows import write_rows
from otfuse.io.target import check_target, complete_folder
from otfuse.io.volume import Volume
from otfuse.io.write import Written
from otfuse.io.zarr_store import local_path, named_zarr
from otfuse.io.zarr_write import create_volume

Region = tuple[slice, ...]
# One block being read, one being written, and one of what zarr packs and unpacks meanwhile.
_BLOCKS_HELD = 3
_SCALED_BYTES = 12  # of a voxel while it becomes an integer


def convert(
    volume: Volume,
    target: str | Path,
    *,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    compression: str = "blosc-zstd",
    version: str = "0.5",
    dtype: str | None = None,
    negative: str = "error",
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    max_bytes: int = 2**30,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, ...]:
    """Write a volume's pixels, as they are, and all that is known of them to another file.

    Parameters
    ----------
    volume : Volume
        From `open_volume`.
    target : str or Path
        An OME-Zarr if its name ends in `.zarr`, else a TIFF.
    chunks, shards, compression, version
        As for `create_volume`, of an OME-Zarr.
    dtype : {None, "uint16", "uint8"}
        Integers to store `round(factor * value)` as; the factor of each channel puts its highest
        value at the full scale, for which all pixels are read twice.
    negative : {"error", "clip"}
        Whether integers are refused for values below 0, or stored as 0 there.
    provenance, overwrite
        As for `create_volume` and `write_stack`.
    max_bytes : int
        Memory to work with, besides the program; the fewer, the smaller the blocks.
    progress : callable, optional
        progress(done, total) after each block.

    Returns
    -------
    tuple of str
        What a user should know of what was written.

    Raises
    ------
    OSError  if the target exists or cannot be written, or the disk is full; nothing is then left
        behind, except at URLs.
    ValueError, TypeError  if an option is wrong, a TIFF has no such dtype, or values are negative
        or not finite where integers are asked for.
    ChunkError  if a chunk of the volume is missing or damaged.
    """
    each = _BLOCKS_HELD * volume.dtype.itemsize + (_SCALED_BYTES if dtype else 0)
    room = max(1, max_bytes // each)
    show = progress or (lambda done, total: None)
    record, kept = dict(provenance or {}), _Kept(volume.dtype.name)
    if dtype is not None:
        kept = _as_integers(volume, dtype, room, clip=negative == "clip")
        record["scale"] = kept.record(volume)
    if not named_zarr(target):
        return _to_tiff(volume, Path(target), kept, room, show, record or None, overwrite)
    with _zarr_target(target, overwrite) as (place, replace):
        writer = create_volume(
            place,
            volume.shape,
            kept.dtype,
            like=volume,
            chunks=chunks,
            shards=shards,
            compression=compression,
            version=version,
            provenance=record or None,
            overwrite=replace,
            name=Path(str(target)).name,
        )
        blocks = list(cover(volume.shape, grow(writer.unit, volume.shape, room)))
        _stream(volume, blocks, lambda at, block: writer.write(at, kept.stored(at, block)), show)
        writer.finish()
    return kept.notes(volume)


def _to_tiff(
    volume: Volume,
    target: Path,
    kept: _Kept,
    room: int,
    show: Callable[[int, int], None],
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
) -> tuple[str, ...]:
    written: list[Written] = []
    check_target(
        target, overwrite=overwrite, n_bytes=volume.data.size * np.dtype(kept.dtype).itemsize
    )
    # Rows are written whole; planes are read together where one chunk holds several.
    nx, (_, _, cz, cy, _) = volume.shape[4], volume.chunks
    cell = (1, 1, max(1, min(cz, room // nx)), 1, nx)
    rows = max(1, min(cy, room // prod(cell)))
    cell = (1, 1, cell[2], rows, nx)
    with write_rows(
        target,
        volume.shape,
        dtype=kept.dtype,
        like=volume,
        provenance=provenance,
        overwrite=overwrite,
        written=written,
    ) as file:

        def write(region: Region, block: np.ndarray) -> None:
            t, c, z, y, _ = (part.start for part in region)
            block = kept.stored(region, block)
            for i, j in np.ndindex(block.shape[:2]):
                file.write(t + i, c + j, y, block[i, j].transpose(1, 0, 2), plane=z)

        _stream(volume, list(cover(volume.shape, grow(cell, volume.shape, room))), write, show)
    return (*written[0].notes, *kept.notes(volume))


@dataclass(frozen=True)
class _Kept:
    """The dtype that pixels are stored in, and what they are multiplied by before."""

    dtype: str
    factors: tuple[float, ...] = ()

    def stored(self, region: Region, block: np.ndarray) -> np.ndarray:
        """A block as it is stored."""
        if not self.factors:
            return block
        scale = np.array(self.factors[region[1]])[:, None, None, None]
        return to_integers(block, scale, self.dtype)

    def record(self, volume: Volume) -> dict[str, Any]:
        """What the file says of it."""
        labels = [volume.channel_label(c) for c in range(len(self.factors))]
        return scale_record(labels, self.dtype, self.factors)

    def notes(self, volume: Volume) -> tuple[str, ...]:
        """What a user should know of it."""
        several = len(self.factors) > 1
        return tuple(
            (f"{volume.channel_label(c)}: " if several else "") + f"stored multiplied by {f:.6g}"
            for c, f in enumerate(self.factors)
        )


def _as_integers(volume: Volume, dtype: str, room: int, *, clip: bool) -> _Kept:
    """Factors of the channels, from all pixels."""
    if dtype not in DTYPES:
        raise ValueError(f"convert: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    highest, lowest = np.full(volume.shape[1], -np.inf), np.inf
    for region in cover(volume.shape, grow(volume.chunks, volume.shape, room)):
        block = volume.read(region)
        here = highest[region[1]]
        np.maximum(here, block.max(axis=(0, 2, 3, 4)), out=here)
        lowest = min(lowest, max(float(block.min()), 0.0) if clip else float(block.min()))
        check_storable("convert", lowest, list(here), dtype)
    return _Kept(dtype, factors_of(list(map(float, highest)), dtype))


@contextmanager
def _zarr_target(target: str | Path, overwrite: bool) -> Iterator[tuple[str, bool]]:
    """Where to write, and whether what is there is in the way: beside a folder, at a URL in it."""
    folder = local_path(target)
    whole: AbstractContextManager[Path | str] = nullcontext(str(target))
    if folder is not None:
        check_target(folder, overwrite=overwrite, zarr=True)
        whole = complete_folder(folder, overwrite=overwrite)
    with whole as place:
        yield str(place), overwrite and folder is None


def _stream(
    volume: Volume,
    regions: Sequence[Region],
    write: Callable[[Region, np.ndarray], None],
    show: Callable[[int, int], None],
) -> None:
    """Read the next block while one is written."""
    with ThreadPoolExecutor(1) as reader:
        ahead: Future[np.ndarray] = reader.submit(volume.read, regions[0])
        for i, region in enumerate(regions):
            block = ahead.result()
            if i + 1 < len(regions):
                ahead = reader.submit(volume.read, regions[i + 1])
            write(region, block)
            del block
            show(i + 1, len(regions))


def grow(unit: Sequence[int], shape: Sequence[int], room: int) -> tuple[int, ...]:
    """Extents of blocks of whole units that hold at most `room` voxels, one unit at least.

    They grow along x first, then y, then z: the order in which files are stored.
    """
    block = [min(u, n) for u, n in zip(unit, shape, strict=True)]
    for axis in reversed(range(len(block))):
        others = prod(block) // block[axis]
        fitting = room // others // unit[axis] * unit[axis]
        block[axis] = max(block[axis], min(fitting, shape[axis]))
        if block[axis] < shape[axis]:
            break
    return tuple(block)


def cover(shape: Sequence[int], block: Sequence[int]) -> Iterator[Region]:
    """Regions of that size that cover an array, the last axis fastest."""
    for start in product(*(range(0, n, b) for n, b in zip(shape, block, strict=True))):
        yield tuple(slice(a, min(a + b, n)) for a, b, n in zip(start, block, shape, strict=True))
