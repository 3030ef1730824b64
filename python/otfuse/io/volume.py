# SPDX-License-Identifier: BSD-3-Clause
"""Images that stay in their file or store and are read a region at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from operator import index as as_index
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.io.axes import CANONICAL, to_tczyx
from otfuse.io.stack import Stack

Span = tuple[int, int]
Extents = tuple[int, int, int, int, int]
Fetch = Callable[[tuple[slice, ...]], Any]

_LAYER = 32  # planes, at least


class ChunkError(RuntimeError):
    """A chunk that is missing or damaged.

    Attributes
    ----------
    chunk : tuple of int
        Its number along each axis of the store.
    start, stop : tuple of int
        The voxels that it should hold, (t, c, z, y, x).
    """

    def __init__(
        self, message: str, chunk: tuple[int, ...], start: tuple[int, ...], stop: tuple[int, ...]
    ) -> None:
        super().__init__(message)
        self.chunk, self.start, self.stop = chunk, start, stop

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.chunk, self.start, self.stop)


class LazyPixels:
    """Pixels with the axes (t, c, z, y, x), read when they are indexed.

    Parameters
    ----------
    fetch : callable
        Gives what lies within one slice per stored axis.
    letters : str
        One of `TCZYX` for each stored axis, `-` for one of extent 1 to drop.
    stored : tuple of int
        Extents as they are stored.
    dtype : dtype
        Of what is given; numbers in another byte order are turned into it.
    """

    def __init__(self, fetch: Fetch, letters: str, stored: Sequence[int], dtype: Any) -> None:
        extents = dict(zip(letters, stored, strict=True))
        self._fetch, self._letters = fetch, letters
        self.shape: tuple[int, ...] = tuple(extents.get(letter, 1) for letter in CANONICAL)
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.size = prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any, /) -> np.ndarray:
        spans, kept = spans_of(index, self.shape)
        by_letter = dict(zip(CANONICAL, spans, strict=True))
        stored = tuple(slice(*by_letter.get(letter, (0, 1))) for letter in self._letters)
        block = to_tczyx(np.asarray(self._fetch(stored)), self._letters)
        block = block.reshape([n for n, keep in zip(block.shape, kept, strict=True) if keep])
        return block.astype(self.dtype, copy=False)


def spans_of(index: Any, shape: Sequence[int]) -> tuple[list[Span], list[bool]]:
    """First voxel and the one behind the last along each axis, and which axes are kept.

    Parameters
    ----------
    index : int, slice, Ellipsis or tuple of them
        What an array would be indexed with; steps other than 1 are refused.
    shape : sequence of int

    Raises
    ------
    IndexError  if it has too many axes, or a number lies outside.
    ValueError  if a slice has a step.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(part is Ellipsis for part in parts):
        gap = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[gap : gap + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    if len(parts) > len(shape):
        raise IndexError(f"region must have at most {len(shape)} axes, got {len(parts)}")
    parts += [slice(None)] * (len(shape) - len(parts))
    spans, kept = [], []
    for part, n in zip(parts, shape, strict=True):
        if isinstance(part, slice):
            first, last, step = part.indices(n)
            if step != 1:
                raise ValueError(f"region must be without steps, got {part}")
            spans.append((first, max(first, last)))
        else:
            place = as_index(part)
            if not -n <= place < n:
                raise IndexError(f"region must lie within {n} voxels, got {place}")
            spans.append((place % n, place % n + 1))
        kept.append(isinstance(part, slice))
    return spans, kept


@dataclass
class Volume(Stack):
    """A stack that stays where it is and is read a region at a time.

    Pickled, it is opened again where it arrives.

    Attributes
    ----------
    location : str
        Path or URL.
    chunks, shards : (t, c, z, y, x) or None
        What is read at once, and what is stored as one object where several chunks are.
    levels : tuple of extents
        Of the multi-scale pyramid, the full resolution first.
    version, compression : str
        Of an OME-Zarr.
    options : dict
        What it was opened with.
    """

    location: str = ""
    chunks: Extents = (1, 1, 1, 1, 1)
    shards: Extents | None = None
    levels: tuple[Extents, ...] = ()
    version: str = ""
    compression: str = ""
    options: dict[str, Any] | None = None

    @property
    def shape(self) -> Extents:
        """Extents (nt, nc, nz, ny, nx)."""
        nt, nc, nz, ny, nx = self.data.shape
        return nt, nc, nz, ny, nx

    @property
    def dtype(self) -> np.dtype:
        """Of the stored numbers, in this machine's byte order."""
        return self.data.dtype

    @property
    def format(self) -> str:
        """The kind of file in words."""
        return f"OME-Zarr {self.version}" if self.kind == "zarr" else super().format

    def read(self, region: Any = ...) -> np.ndarray:
        """Pixels of a region.

        Parameters
        ----------
        region : tuple of int and slice
            As an array with axes (t, c, z, y, x) would be indexed, for example
            `(0, 1, *tile.slices)`; slices are without steps and lie within the extents.

        Returns
        -------
        ndarray, writable, without the axes given as numbers

        Raises
        ------
        ValueError  if the region does not lie within the volume.
        ChunkError  if a chunk is missing or damaged; it tells which.
        OSError  if the store cannot be read.
        """
        try:
            check_within(region, self.shape)
            spans_of(region, self.shape)
        except (IndexError, ValueError) as error:
            raise ValueError(f"Volume.read: {error}, got extents {self.shape}") from None
        pixels = np.asarray(self.data[region])
        return pixels if pixels.flags.writeable else pixels.copy()

    @property
    def layer(self) -> int:
        """Planes that `read_float32` unpacks at a time."""
        return -(-_LAYER // self.chunks[2]) * self.chunks[2]

    def read_float32(self, region: tuple[Any, ...]) -> np.ndarray:
        """Pixels of a part of one image, converted layer by layer as they are read.

        Parameters
        ----------
        region : (t, c, z, y, x)
            Two numbers and three slices, as for `read`.

        Returns
        -------
        ndarray, float32, C-contiguous, shape (nz, ny, nx)

        Raises
        ------
        As `read`.
        """
        t, c, planes, rows, columns = region
        whole = np.empty([part.stop - part.start for part in region[2:]], np.float32)
        for a in range(planes.start // self.layer * self.layer, planes.stop, self.layer):
            first, last = max(a, planes.start), min(a + self.layer, planes.stop)
            there = slice(first - planes.start, last - planes.start)
            whole[there] = self.read((t, c, slice(first, last), rows, columns))
        return whole

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(open_volume, self.location, **(self.options or {})), ()


def check_within(region: Any, shape: Sequence[int]) -> None:
    """Refuse slices that an array would silently cut at its end."""
    parts = region if isinstance(region, tuple) else (region,)
    if Ellipsis in parts:
        return
    for part, n in zip(parts, shape, strict=False):
        ends = (part.start, part.stop) if isinstance(part, slice) else ()
        if any(end is not None and not 0 <= end <= n for end in ends):
            raise ValueError(f"region must lie within {n} voxels along each axis, got {part}")


def open_volume(location: str | Path, *, axes: str | None = None, missing: str = "error") -> Volume:
    """Open an OME-Zarr or a TIFF without reading its pixels.

    Parameters
    ----------
    location : str or Path
        An OME-Zarr group (0.4 or 0.5) in a folder or at a URL that fsspec knows (`s3://...`,
        `https://...`, `memory://...`), or a TIFF file.
    axes : str, optional
        What the axes are, in letters of `TCZYX`; by default what the file says.
    missing : {"error", "fill"}
        What a chunk that is not in the store means: damage, or a chunk of zeros that its writer
        left out.

    Returns
    -------
    Volume

    Raises
    ------
    FileNotFoundError, PermissionError  if it is not there or not ours to read.
    ValueError  if it is no complete TIFF or OME-Zarr image, or its axes are not understood.
    TypeError  if its pixels are complex or no numbers.
    RuntimeError  if a library that it takes is not installed.
    """
    from otfuse.io.zarr_read import open_zarr
    from otfuse.io.zarr_store import is_zarr

    if missing not in ("error", "fill"):
        raise ValueError(f"open_volume: missing must be 'error' or 'fill', got {missing!r}")
    if is_zarr(location):
        return open_zarr(str(location), axes=axes, missing=missing)
    from otfuse.io.read import open_tiff

    return open_tiff(location, axes=axes)
