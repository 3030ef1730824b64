# SPDX-License-Identifier: BSD-3-Clause
"""The pixels of one file into another kind of file, without holding more than a few blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.io.rows import write_rows
from otfuse.io.target import check_target, complete_folder
from otfuse.io.volume import Volume
from otfuse.io.write import Written
from otfuse.io.zarr_store import local_path, named_zarr
from otfuse.io.zarr_write import create_volume

Region = tuple[slice, ...]
# One block being read, one being written, and one of what zarr packs and unpacks meanwhile.
_BLOCKS_HELD = 3


def convert(
    volume: Volume,
    target: str | Path,
    *,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    compression: str = "blosc-zstd",
    version: str = "0.5",
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
    ValueError, TypeError  if an option is wrong, or a TIFF has no such dtype.
    ChunkError  if a chunk of the volume is missing or damaged.
    """
    room = max(1, max_bytes // _BLOCKS_HELD // volume.dtype.itemsize)
    show = progress or (lambda done, total: None)
    if not named_zarr(target):
        return _to_tiff(volume, Path(target), room, show, provenance, overwrite)
    with _zarr_target(target, overwrite) as (place, replace):
        writer = create_volume(
            place,
            volume.shape,
            volume.dtype,
            like=volume,
            chunks=chunks,
            shards=shards,
            compression=compression,
            version=version,
            provenance=provenance,
            overwrite=replace,
            name=Path(str(target)).name,
        )
        blocks = list(cover(volume.shape, grow(writer.unit, volume.shape, room)))
        _stream(volume, blocks, writer.write, show)
        writer.finish()
    return ()


def _to_tiff(
    volume: Volume,
    target: Path,
    room: int,
    show: Callable[[int, int], None],
    provenance: Mapping[str, Any] | None,
    overwrite: bool,
) -> tuple[str, ...]:
    written: list[Written] = []
    check_target(target, overwrite=overwrite, n_bytes=volume.data.nbytes)
    # Rows are written whole; planes are read together where one chunk holds several.
    nx, (_, _, cz, cy, _) = volume.shape[4], volume.chunks
    cell = (1, 1, max(1, min(cz, room // nx)), 1, nx)
    rows = max(1, min(cy, room // prod(cell)))
    cell = (1, 1, cell[2], rows, nx)
    with write_rows(
        target,
        volume.shape,
        dtype=volume.dtype.name,
        like=volume,
        provenance=provenance,
        overwrite=overwrite,
        written=written,
    ) as file:

        def write(region: Region, block: np.ndarray) -> None:
            t, c, z, y, _ = (part.start for part in region)
            for i, j in np.ndindex(block.shape[:2]):
                file.write(t + i, c + j, y, block[i, j].transpose(1, 0, 2), plane=z)

        _stream(volume, list(cover(volume.shape, grow(cell, volume.shape, room))), write, show)
    return written[0].notes


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
