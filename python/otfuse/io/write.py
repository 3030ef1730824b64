# SPDX-License-Identifier: BSD-3-Clause
"""Writing TIFF stacks: ImageJ or OME-TIFF, complete or not at all, never clipped silently."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from otfuse.io.integers import check_storable, factors_of, scale_record, to_integers
from otfuse.io.ome import build_ome
from otfuse.io.provenance import describe
from otfuse.io.stack import Stack, Voxel
from otfuse.io.target import check_target, complete_file
from otfuse.io.units import micrometres_per

DTYPES = ("float32", "uint16", "uint8")
OME_DTYPES = (*DTYPES, "int8", "int16", "int32", "uint32", "float64")
# tifffile's own limit: offsets of classic TIFF have 32 bits, and the metadata need some room.
_CLASSIC_BYTES = 2**32 - 2**25
_Shape = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Written:
    """What was written: the file, its kind, the factor of each channel, sentences for the user."""

    path: Path
    kind: str
    factors: tuple[float, ...]
    highest: tuple[float, ...]
    notes: tuple[str, ...] = ()


def write_stack(
    path: str | Path,
    data: np.ndarray | Iterable[np.ndarray],
    *,
    like: Stack | None = None,
    voxel: Voxel | None = None,
    channel_names: Sequence[str] | None = None,
    dtype: str = "float32",
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    shape: Sequence[int] | None = None,
) -> Written:
    """Write a stack under a temporary name and rename it when it is complete.

    OME-TIFF where the name ends in `.ome.tif`, where `like` is one, or where the file exceeds 4 GB
    (BigTIFF); an ImageJ hyperstack otherwise.

    Parameters
    ----------
    path : str or Path
        An existing file is replaced only with `overwrite`.
    data : ndarray, shape (nt, nc, nz, ny, nx), or iterable of such arrays
        An iterable gives the time points in order, one or several at a time, so that the whole is
        never held in memory; it needs `shape`.
    like : Stack, optional
        Gives what is not given here: voxel size, units, channel names, optics, description.
    voxel : (dz, dy, dx), optional
        Micrometres.
    channel_names : sequence of str, optional
    dtype : {"float32", "uint16", "uint8"}
        Integers are `round(factor * value)`, with one factor per channel for all time points that
        puts the highest value at the full scale; the factors are returned and stored.
    provenance : mapping, optional
        From `otfuse.io.provenance`; stored in the TIFF description.
    overwrite : bool
    shape : (nt, nc, nz, ny, nx), optional
        Extents of the whole, where `data` is an iterable.

    Returns
    -------
    Written

    Raises
    ------
    OSError  if the folder is missing or not writable, the file exists, the disk is full; nothing is
        then left behind.
    ValueError  if the data are negative or not finite where integers are asked for, or of another
        shape than announced.
    """
    path = Path(path)
    if dtype not in DTYPES:
        raise ValueError(f"write_stack: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    whole = _whole_shape(data, shape)
    check_target(path, overwrite=overwrite)
    blocks: Iterable[np.ndarray] = [data] if isinstance(data, np.ndarray) else data
    job, notes = plan_file(
        path, whole, dtype, empty_meaning(like, voxel, channel_names), provenance
    )
    factors: tuple[float, ...] = ()
    with complete_file(path, overwrite=overwrite) as file:
        if dtype == "float32":
            highest = _Highest(whole[1])
            write_planes(file, job, highest.watch(_checked(blocks, whole)))
        else:
            with tempfile.TemporaryFile(dir=path.parent) as spool:
                factors, highest = _spool(spool, blocks, whole, dtype)
                labels = [job.meaning.channel_label(c) for c in range(whole[1])]
                job.record["scale"] = scale_record(labels, dtype, factors)
                write_planes(file, job, _scaled(spool, whole, dtype, factors))
    return Written(path, job.kind, factors, tuple(highest.values), notes)


@dataclass(frozen=True)
class _Job:
    shape: _Shape
    dtype: str
    kind: str
    n_bytes: int
    meaning: Stack
    record: dict[str, Any]
    name: str


def plan_file(
    path: Path, shape: _Shape, dtype: str, meaning: Stack, provenance: Mapping[str, Any] | None
) -> tuple[_Job, tuple[str, ...]]:
    """What kind of file it will be, and what a user should know of that."""
    if dtype not in OME_DTYPES:
        raise TypeError(
            f"write_stack: dtype must be one that OME-TIFF has, {', '.join(OME_DTYPES)}, "
            f"got {dtype}"
        )
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    kind, notes = _choose_kind(path, meaning, n_bytes, dtype)
    return _Job(shape, dtype, kind, n_bytes, meaning, dict(provenance or {}), path.name), notes


class _Highest:
    """Highest value of each channel, seen while the data pass by."""

    def __init__(self, n_channels: int) -> None:
        self.values = [-np.inf] * n_channels

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            for channel in range(block.shape[1]):
                self.values[channel] = max(self.values[channel], float(block[:, channel].max()))
            yield block


def _whole_shape(data: Any, shape: Sequence[int] | None) -> _Shape:
    if isinstance(data, np.ndarray):
        shape = data.shape
    if shape is None or len(shape) != 5 or min(shape) < 1:
        raise ValueError(
            f"write_stack: data must have extents (t, c, z, y, x), none of them 0, got {shape}"
        )
    nt, nc, nz, ny, nx = (int(n) for n in shape)
    return nt, nc, nz, ny, nx


def empty_meaning(
    like: Stack | None, voxel: Voxel | None = None, channel_names: Sequence[str] | None = None
) -> Stack:
    """What is to be written around the pixels; `like` without its own."""
    empty = np.empty((0, 0, 0, 0, 0))
    meaning = Stack(empty, "", "") if like is None else replace(like, data=empty)
    if voxel is not None:
        meaning.voxel = voxel
    if channel_names is not None:
        meaning.channel_names = tuple(channel_names)
    return meaning


def _choose_kind(
    path: Path, meaning: Stack, n_bytes: int, dtype: str
) -> tuple[str, tuple[str, ...]]:
    named_ome = re.search(r"\.ome\.(tiff?|tf2|tf8|btf)$", path.name.lower()) is not None
    if n_bytes > _CLASSIC_BYTES:
        return "ome", ("over 4 GB: written as OME-TIFF in a BigTIFF",)
    ome = named_ome or meaning.kind == "ome" or dtype not in DTYPES
    return ("ome" if ome else "imagej"), ()


def _checked(blocks: Iterable[np.ndarray], whole: _Shape) -> Iterator[np.ndarray]:
    done = 0
    for block in blocks:
        done += block.shape[0] if block.ndim == 5 else 0
        if block.ndim != 5 or block.shape[1:] != whole[1:] or done > whole[0]:
            raise ValueError(f"write_stack: data must have extents {whole}, got {block.shape}")
        yield block
    if done != whole[0]:
        raise ValueError(f"write_stack: data must have {whole[0]} time points, got {done}")


def _spool(
    spool: IO[bytes], blocks: Iterable[np.ndarray], whole: _Shape, dtype: str
) -> tuple[tuple[float, ...], _Highest]:
    """Keep the floats on disk until the highest of all time points gives the factors."""
    highest = _Highest(whole[1])
    for block in highest.watch(_checked(blocks, whole)):
        check_storable("write_stack", float(block.min()), highest.values, dtype)
        spool.write(np.ascontiguousarray(block, dtype=np.float32).data)
    spool.seek(0)
    return factors_of(highest.values, dtype), highest


def _scaled(
    spool: IO[bytes], whole: _Shape, dtype: str, factors: tuple[float, ...]
) -> Iterator[np.ndarray]:
    volume_shape = whole[1:]
    scale = np.asarray(factors, dtype=np.float64)[:, None, None, None]
    for _ in range(whole[0]):
        raw = spool.read(int(np.prod(volume_shape)) * 4)
        values = np.frombuffer(raw, dtype=np.float32).reshape(volume_shape)
        yield to_integers(values, scale, dtype)[None]


def write_planes(file: BinaryIO, job: _Job, blocks: Iterable[np.ndarray] | None) -> None:
    """All of the file; without blocks, room for the pixels."""
    writers: dict[str, Callable[[BinaryIO, _Job, Iterable[np.ndarray] | None], None]] = {
        "ome": _write_ome,
        "imagej": _write_imagej,
    }
    writers[job.kind](file, job, blocks)


def _write_ome(file: BinaryIO, job: _Job, blocks: Iterable[np.ndarray] | None) -> None:
    import tifffile

    description = describe(job.record, job.meaning.description)
    xml = build_ome(job.shape, job.dtype, job.meaning, description, job.name)
    planes = None if blocks is None else _all_planes(blocks, job.dtype)
    n_planes = int(np.prod(job.shape[:3]))
    with tifffile.TiffWriter(file, bigtiff=job.n_bytes > _CLASSIC_BYTES) as tif:
        tif.write(
            planes,
            shape=(n_planes, *job.shape[3:]),
            dtype=job.dtype,
            photometric="minisblack",
            description=xml,
            metadata=None,
            software="otfuse",
        )


def _write_imagej(file: BinaryIO, job: _Job, blocks: Iterable[np.ndarray] | None) -> None:
    import tifffile

    nt, nc, nz, ny, nx = job.shape
    meaning, metadata = job.meaning, _imagej_metadata(job)
    # ImageJ's order of planes is (t, z, c).
    planes = None
    if blocks is not None:
        planes = _all_planes((block.transpose(0, 2, 1, 3, 4) for block in blocks), job.dtype)
    _, scale = _imagej_unit(meaning)
    resolution = None
    if meaning.voxel[1] and meaning.voxel[2]:
        resolution = (scale / meaning.voxel[2], scale / meaning.voxel[1])
    with tifffile.TiffWriter(file, imagej=True) as tif:
        tif.write(
            planes,
            shape=(nt, nz, nc, ny, nx),
            dtype=job.dtype,
            photometric="minisblack",
            resolution=resolution,
            resolutionunit="NONE",
            metadata=metadata,
            software="otfuse",
        )


def _imagej_metadata(job: _Job) -> dict[str, Any]:
    nt, nc, nz = job.shape[:3]
    meaning = job.meaning
    text = describe(job.record, meaning.description)
    # One line in the description for programs, and ImageJ's own Info for Image > Show Info.
    metadata: dict[str, Any] = {"axes": "TZCYX", "Info": text, "otfuse": describe(job.record)}
    sizes, (unit, scale) = meaning.voxel, _imagej_unit(meaning)
    if any(sizes):
        metadata["unit"] = unit
        if sizes[0]:
            metadata["spacing"] = sizes[0] / scale
    if meaning.time_step is not None:
        metadata["finterval"] = meaning.time_step
    if nc > 1:
        metadata["mode"] = "composite"
    if any(meaning.channel_names):
        metadata["Labels"] = [meaning.channel_label(c) for c in range(nc)] * (nt * nz)
    return metadata


def _imagej_unit(meaning: Stack) -> tuple[str, float]:
    """The unit that ImageJ reads lengths in, and its micrometres; the description is ASCII."""
    unit = meaning.units[2]
    scale = micrometres_per(unit)
    return (unit, scale) if scale not in (None, 1.0) and unit.isascii() else ("um", 1.0)


def _all_planes(blocks: Iterable[np.ndarray], dtype: str) -> Iterator[np.ndarray]:
    for block in blocks:
        yield from _planes(block, dtype)


def _planes(block: np.ndarray, dtype: str) -> Iterator[np.ndarray]:
    for index in np.ndindex(block.shape[:3]):
        yield np.ascontiguousarray(block[index], dtype=dtype)
