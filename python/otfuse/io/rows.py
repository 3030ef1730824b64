# SPDX-License-Identifier: BSD-3-Clause
"""Writing a TIFF stack in any order: room is made first, then rows are put where they belong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from otfuse.io.stack import Stack
from otfuse.io.target import check_target, complete_file
from otfuse.io.write import Written, empty_meaning, plan_file, write_planes


class RowFile:
    """A stack on disk, written some rows of some planes at a time."""

    def __init__(self, file: BinaryIO, shape: Sequence[int], kind: str, dtype: str) -> None:
        nt, nc, nz, ny, nx = shape
        self._file, self._turned, self._dtype = file, kind == "imagej", np.dtype(dtype)
        # tifffile writes ImageJ's files big-endian.
        self._offset, order = _pixels_at(file)
        self._stored = self._dtype.newbyteorder(order)
        self._shape = (nt, nz, nc, ny, nx) if self._turned else (nt, nc, nz, ny, nx)
        self.highest = [-np.inf] * nc

    def write(self, t: int, c: int, row: int, block: np.ndarray, *, plane: int = 0) -> None:
        """Put rows of planes of one volume into their place.

        Parameters
        ----------
        t, c : int
            Time point and channel.
        row : int
            The first of the rows.
        block : ndarray, shape (rows, planes, nx)
        plane : int
            The first of the planes.
        """
        for i in range(block.shape[1]):
            z = plane + i
            where = (t, z, c, row, 0) if self._turned else (t, c, z, row, 0)
            voxel = int(np.ravel_multi_index(where, self._shape))
            place = self._offset + self._dtype.itemsize * voxel
            data = np.ascontiguousarray(block[:, i], self._stored).data.cast("B")
            while data:
                n = os.pwrite(self._file.fileno(), data, place)
                data, place = data[n:], place + n
        self.highest[c] = max(self.highest[c], float(block.max()))

    def mapped(self) -> np.ndarray:
        """What was written, (nt, nc, nz, ny, nx), read-only."""
        whole = np.memmap(self._file, self._stored, "r", self._offset, self._shape)
        return whole.swapaxes(1, 2) if self._turned else whole


@contextmanager
def write_rows(
    path: str | Path,
    shape: Sequence[int],
    *,
    dtype: str = "float32",
    like: Stack | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    written: list[Written] | None = None,
) -> Iterator[RowFile]:
    """Open a stack to be written in any order; it gets its name when the block ends well.

    Parameters
    ----------
    path, like, provenance, overwrite
        As for `write_stack`.
    shape : (nt, nc, nz, ny, nx)
    dtype : str
        Of the pixels, which are written as they are; one that OME-TIFF knows.
    written : list, optional
        Gets what `write_stack` would return, once the file is complete.

    Yields
    ------
    RowFile

    Raises
    ------
    OSError  as `write_stack`; nothing is then left behind.
    TypeError  if OME-TIFF has no such dtype.
    """
    path = Path(path)
    nt, nc, nz, ny, nx = (int(n) for n in shape)
    check_target(path, overwrite=overwrite)
    meaning = empty_meaning(like)
    job, notes = plan_file(path, (nt, nc, nz, ny, nx), dtype, meaning, provenance)
    with complete_file(path, overwrite=overwrite) as file:
        write_planes(file, job, None)
        rows = RowFile(file, job.shape, job.kind, dtype)
        yield rows
    if written is not None:
        written.append(Written(path, job.kind, (), tuple(rows.highest), notes))


def _pixels_at(file: BinaryIO) -> tuple[int, Any]:
    """Where the pixels begin, and their byte order; they lie together, as tifffile makes room."""
    import tifffile

    file.flush()
    file.seek(0)
    with tifffile.TiffFile(file) as tif:
        offset, order = tif.series[0].dataoffset, tif.byteorder
    assert offset is not None
    return int(offset), order
