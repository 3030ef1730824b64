# SPDX-License-Identifier: BSD-3-Clause
"""Starting an OME-Zarr image: its group, the arrays of its levels, the metadata it will have."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.io.pyramid import plan_levels
from otfuse.io.stack import Stack, Voxel
from otfuse.io.target import check_target, full_disk_named
from otfuse.io.volume import Extents
from otfuse.io.write import empty_meaning
from otfuse.io.zarr_meta import VERSIONS, build_attributes
from otfuse.io.zarr_store import COMPRESSIONS, check_zarr, codecs_of, local_path, open_store
from otfuse.io.zarr_writer import WRITTEN_STAYS, VolumeWriter

_CHUNK = (1, 1, 64, 256, 256)


def create_volume(
    location: str | Path,
    shape: Sequence[int],
    dtype: Any,
    *,
    like: Stack | None = None,
    voxel: Voxel | None = None,
    channel_names: Sequence[str] | None = None,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    compression: str = "blosc-zstd",
    version: str = "0.5",
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> VolumeWriter:
    """Start an OME-Zarr image with the axes (t, c, z, y, x).

    Until `finish` it has no multiscales and no reader takes it for an image.

    Parameters
    ----------
    location : str or Path
        A folder to be made, or a URL that fsspec can write to.
    shape : (nt, nc, nz, ny, nx)
    dtype : dtype
        Real numbers.
    like : Stack, optional
        Gives what is not given here: voxel size, units, channel names, optics, description.
    voxel : (dz, dy, dx), optional
        Micrometres.
    channel_names : sequence of str, optional
    chunks : (t, c, z, y, x), optional
        By default (1, 1, 64, 256, 256), cut to the extents.
    shards : (t, c, z, y, x), optional
        Multiples of the chunks that are stored as one object each (version 0.5).
    compression : {"blosc-zstd", "blosc-lz4", "zstd", "gzip", "none"}
    version : {"0.5", "0.4"}
        Of OME-Zarr; the first is stored in Zarr's format 3, the other in format 2.
    provenance : mapping, optional
        From `otfuse.io.provenance`.
    overwrite : bool
        Whether an existing Zarr is removed.
    name : str, optional
        Of the image, by default the last part of `location`.

    Returns
    -------
    VolumeWriter

    Raises
    ------
    ValueError  if an option is unknown or extents do not fit together.
    TypeError  if the dtype is not of real numbers.
    OSError  if the folder is missing or not writable, or the target exists.
    RuntimeError  if zarr is not installed.
    """
    where, extents, kind = str(location), _five("shape", shape), np.dtype(dtype)
    for option, value, allowed in (
        ("version", version, VERSIONS),
        ("compression", compression, COMPRESSIONS),
    ):
        if value not in allowed:
            raise ValueError(
                f"create_volume: {option} must be one of {', '.join(allowed)}, got {value!r}"
            )
    if kind.kind not in "uifb":
        raise TypeError(f"create_volume: dtype must be of real numbers, got {kind}")
    cells = _five("chunks", _CHUNK if chunks is None else chunks)
    blocks = None if shards is None else _five("shards", shards)
    _check_shards(cells, blocks, version)
    check_zarr("create_volume")
    folder = local_path(where)
    if folder is not None:
        check_target(folder, overwrite=overwrite, zarr=True)
    meaning = empty_meaning(like, voxel, channel_names)
    shapes, factors = plan_levels(extents, meaning.voxel)
    attributes = build_attributes(
        meaning,
        shapes,
        factors,
        version=version,
        name=name or where.rstrip("/").rpartition("/")[2],
        provenance=provenance,
    )
    with full_disk_named(where, WRITTEN_STAYS):
        group = _create_group(where, version, attributes, overwrite)
        for level, size in enumerate(shapes):
            _create_array(group, str(level), size, kind, cells, blocks, compression, version)
    return VolumeWriter(where, group)


def _five(name: str, values: Sequence[int]) -> Extents:
    numbers = tuple(int(n) for n in values)
    if len(numbers) != 5 or min(numbers) < 1:
        raise ValueError(
            f"create_volume: {name} must be five numbers above 0, (t, c, z, y, x), got {values}"
        )
    nt, nc, nz, ny, nx = numbers
    return nt, nc, nz, ny, nx


def _check_shards(chunks: Extents, shards: Extents | None, version: str) -> None:
    if shards is None:
        return
    if version == "0.4":
        raise ValueError("create_volume: shards must be None in version 0.4, which has none")
    if any(s % c for s, c in zip(shards, chunks, strict=True)):
        raise ValueError(
            f"create_volume: shards must be multiples of chunks, got {shards} and {chunks}"
        )


def _create_group(where: str, version: str, attributes: dict[str, Any], overwrite: bool) -> Any:
    import zarr
    from zarr.errors import ContainsArrayError, ContainsGroupError

    store = open_store("create_volume", where, read_only=False)
    try:
        return zarr.create_group(
            store,
            zarr_format=2 if version == "0.4" else 3,
            attributes={"otfuse": {"unfinished": attributes}},
            overwrite=overwrite,
        )
    except (ContainsGroupError, ContainsArrayError):
        raise FileExistsError(
            errno.EEXIST, "output exists; choose another name or give --overwrite", where
        ) from None


def _create_array(
    group: Any,
    name: str,
    shape: Sequence[int],
    dtype: np.dtype,
    chunks: Extents,
    shards: Extents | None,
    compression: str,
    version: str,
) -> None:
    cells = tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
    options: dict[str, Any] = codecs_of(compression, version)
    if version == "0.4":
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    else:
        options["dimension_names"] = ["t", "c", "z", "y", "x"]
    if shards is not None:
        # No longer than it takes to hold the level.
        options["shards"] = tuple(
            min(s // c * cell, -(-n // cell) * cell)
            for s, c, cell, n in zip(shards, chunks, cells, shape, strict=True)
        )
    group.create_array(
        name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=cells,
        fill_value=0,
        config={"write_empty_chunks": True},
        **options,
    )
