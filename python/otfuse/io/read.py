# SPDX-License-Identifier: BSD-3-Clause
"""Reading TIFF stacks: plain, ImageJ and OME-TIFF, any byte order, compressed, BigTIFF."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.io.axes import interpret_axes, to_tczyx
from otfuse.io.imagej import imagej_channel_names, imagej_voxel, plain_pixel_size, resolution_tags
from otfuse.io.ome import parse_ome
from otfuse.io.stack import Pixels, Stack
from otfuse.io.volume import Fetch, LazyPixels, Volume

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

# tifffile logs these and returns zeros, or fewer planes, in place of the missing pixels.
_INCOMPLETE = (
    "missing", "corrupt", "failed to", "out of range", "no pages", "incompletely",
    "invalid page offset", "invalid value offset",
)  # fmt: skip


def read_stack(path: str | Path, *, axes: str | None = None, mmap: bool = False) -> Stack:
    """Read the first image of a TIFF file as (t, c, z, y, x), with voxel size, channels and optics.

    Parameters
    ----------
    path : str or Path
        A TIFF file: plain, ImageJ hyperstack or OME-TIFF.
    axes : str, optional
        What the axes are, slowest first, in letters of `TCZYX`; by default what the file says, and
        a z-stack where it says nothing about three axes (`notes` then tells).
    mmap : bool
        Map the file instead of reading it where it is stored plainly: `data` is then read-only,
        and valid as long as the file is.

    Returns
    -------
    Stack

    Raises
    ------
    FileNotFoundError, PermissionError  if the file cannot be opened.
    ValueError  if it is no complete TIFF, holds no image, or its axes are ambiguous or colours.
    TypeError  if its pixels are complex or no numbers.
    """

    def read(tif: TiffFile, series: TiffPageSeries, letters: str) -> np.ndarray:
        return to_tczyx(_pixels(tif, series, mmap), letters)

    return _open(Path(path), axes, read)


def open_tiff(path: str | Path, *, axes: str | None = None) -> Volume:
    """Open a TIFF without reading its pixels; see `open_volume`.

    What is stored plainly is mapped, what is compressed is decoded page by page.
    """
    path = Path(path)

    def keep(tif: TiffFile, series: TiffPageSeries, letters: str) -> LazyPixels:
        return LazyPixels(_fetch(tif, series, path), letters, series.shape, series.dtype)

    stack = _open(path, axes, keep)
    nt, nc, nz, ny, nx = stack.data.shape
    return Volume(
        **{part.name: getattr(stack, part.name) for part in fields(Stack)},
        location=str(path),
        chunks=(1, 1, 1, ny, nx),
        levels=((nt, nc, nz, ny, nx),),
        options={"axes": axes},
    )


_Read = Callable[["TiffFile", "TiffPageSeries", str], Pixels]


def _open(path: Path, axes: str | None, read: _Read) -> Stack:
    with path.open("rb"):  # the plain OSError of a file that is missing or not ours to read
        pass
    import tifffile

    with _collect_messages() as messages:
        with _damage_named(path):
            tif = tifffile.TiffFile(path)
        with tif:
            with _damage_named(path):
                found = list(tif.series)
            stack = _read(tif, found, path, axes, read)
    for message in messages:
        if any(word in message for word in _INCOMPLETE):
            raise _damaged(path, message)
        stack.notes.append(f"tifffile says: {message}")
    return stack


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises into one error that names the file."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.EIO:
            raise
        raise _damaged(path, str(error) or type(error).__name__) from error


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"read_stack: image must be a complete TIFF file, got {path} ({' '.join(reason.split())}); "
        "save it again as TIFF, best as OME-TIFF"
    )


def _read(
    tif: TiffFile, found: list[TiffPageSeries], path: Path, axes: str | None, read: _Read
) -> Stack:
    if not found or not found[0].shape:
        raise ValueError(f"read_stack: image must have a page, got none in {path}")
    series = found[0]
    if series.dtype is None or series.dtype.kind not in "buif":
        raise TypeError(f"read_stack: image must be of real numbers, got {series.dtype} in {path}")
    letters, notes = interpret_axes(series.axes, series.shape, axes)
    with _damage_named(path):
        data = read(tif, series, letters)
    stack = Stack(data, letters.replace("-", ""), series.axes, path=path, notes=notes)
    if len(found) > 1:
        stack.notes.append(
            f"the file holds {len(found)} images: the first one is used; "
            "save the others to files of their own"
        )
    _add_metadata(stack, tif, series)
    return stack


def _pixels(tif: TiffFile, series: TiffPageSeries, mmap: bool) -> np.ndarray:
    mapped = _mapped(tif, series)
    if mmap and mapped is not None and mapped.dtype.isnative:
        return mapped
    data = np.asarray(series.asarray())
    if data.shape != series.shape:
        raise ValueError(f"its pixels should have extents {series.shape}, got {data.shape}")
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _mapped(tif: TiffFile, series: TiffPageSeries) -> np.memmap | None:
    """The pixels where they lie, if they lie there plainly and together."""
    dtype, offset = np.dtype(series.dtype).newbyteorder(tif.byteorder), series.dataoffset
    # The pages of an OME-TIFF may lie in other files, to which the offset then belongs.
    if offset is None or series.keyframe.parent is not tif:
        return None
    end, size = offset + series.nbytes, tif.filehandle.size
    if end > size:
        raise ValueError(f"its pixels should end at byte {end}, it ends at {size}")
    return np.memmap(tif.filehandle.path, dtype, "r", offset, series.shape)


def _fetch(tif: TiffFile, series: TiffPageSeries, path: Path) -> Fetch:
    """How to read parts of a series: mapped, by pages, or else at once."""
    mapped = _mapped(tif, series)
    if mapped is not None:
        return mapped.__getitem__
    page = tuple(series.keyframe.shape)
    lead = series.shape[: len(series.shape) - len(page)]
    same_file = all(part is not None and part.parent is tif for part in series.pages)
    if series.shape[len(lead) :] != page or len(series.pages) != prod(lead) or not same_file:
        return _pixels(tif, series, mmap=False).__getitem__
    return _Pages(path, lead, np.dtype(series.dtype))


class _Pages:
    """Parts of a TIFF whose pages are decoded one by one."""

    def __init__(self, path: Path, lead: tuple[int, ...], dtype: np.dtype) -> None:
        self._path, self._lead, self._dtype = path, lead, dtype

    def __call__(self, region: tuple[slice, ...]) -> np.ndarray:
        import tifffile

        depth = len(self._lead)
        planes, within = region[:depth], region[depth:]
        shape = [part.stop - part.start for part in region]
        out = np.empty(shape, self._dtype).reshape(-1, *shape[depth:])
        with (
            _collect_messages() as messages,
            _damage_named(self._path),
            tifffile.TiffFile(self._path) as tif,
        ):
            pages = tif.series[0].pages
            places = product(*(range(part.start, part.stop) for part in planes))
            for plane, index in zip(out, places, strict=True):
                page = pages[int(np.ravel_multi_index(index, self._lead)) if index else 0]
                assert page is not None
                plane[...] = page.asarray()[within]
        if any(word in message for message in messages for word in _INCOMPLETE):
            raise _damaged(self._path, messages[0])
        return out.reshape(shape)


def _add_metadata(stack: Stack, tif: TiffFile, series: TiffPageSeries) -> None:
    tags: Any = series.keyframe.tags
    resolution = resolution_tags(tags)
    if tif.is_ome and tif.ome_metadata:
        _add_ome(stack, parse_ome(tif.ome_metadata))
    elif tif.is_imagej and tif.imagej_metadata is not None:
        stack.kind, metadata = "imagej", tif.imagej_metadata
        stack.voxel, stack.units, notes = imagej_voxel(metadata, resolution)
        stack.voxel_source = "ImageJ metadata"
        stack.notes += notes
        nt, nc, nz = stack.data.shape[:3]
        stack.channel_names = imagej_channel_names(metadata.get("Labels"), (nt, nc, nz))
        stack.description = str(metadata.get("Info", ""))
        interval = metadata.get("finterval")
        if isinstance(interval, int | float) and interval > 0:
            stack.time_step = float(interval)
    else:
        unit = tags.get("ResolutionUnit")
        dy, dx = plain_pixel_size(int(unit.value) if unit is not None else 0, resolution)
        stack.voxel, stack.voxel_source = (None, dy, dx), "TIFF resolution tags"


def _add_ome(stack: Stack, image: Any) -> None:
    stack.kind, stack.voxel_source = "ome", "OME metadata"
    stack.voxel, stack.units = image.voxel, image.units
    stack.optics, stack.time_step = image.optics, image.time_step
    stack.description = image.description
    stack.notes += image.notes
    if len(image.channel_names) == stack.data.shape[1]:
        stack.channel_names = image.channel_names


@contextmanager
def _collect_messages() -> Iterator[list[str]]:
    """Catch what tifffile would log to stderr, without the file's name at its front."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = " ".join(record.getMessage().split())
            messages.append(text.partition("> ")[2] or text)

    logger, collector = logging.getLogger("tifffile"), Collector(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield messages
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
