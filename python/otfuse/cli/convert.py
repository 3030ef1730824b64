# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse convert`: TIFF to OME-Zarr and back, pixels and metadata kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from otfuse.cli import _arguments as arg
from otfuse.cli._errors import UsageError
from otfuse.cli._memory import allowed_for
from otfuse.cli._options import check_apart, check_of_zarr, check_output
from otfuse.cli._report import Report, by_extents, in_bytes, in_time
from otfuse.cli._steps import Steps
from otfuse.io import Volume, convert, open_volume, provenance
from otfuse.io.zarr_store import named_zarr

_ENOUGH = 2**30  # more memory than this gains nothing

Target = Annotated[str, Argument(metavar="OUT", help="Its name says what: .zarr, .tif, .ome.tif.")]
Voxel = Annotated[str | None, Option(metavar="Z,Y,X", help="Voxel size, whatever IMAGE says.")]
Chunks = Annotated[
    str | None, Option(metavar="[T,C,]Z,Y,X", help="Of an OME-Zarr; 64,256,256 unless told.")
]
Shards = Annotated[
    str | None, Option(metavar="[T,C,]Z,Y,X", help="Files of several chunks, in version 0.5.")
]
Compression = Annotated[
    Literal["blosc-zstd", "blosc-lz4", "zstd", "gzip", "none"] | None,
    Option(
        metavar="CODEC",
        help="Of an OME-Zarr: blosc-zstd (unless told), blosc-lz4, zstd, gzip or none.",
    ),
]
Version = Annotated[
    Literal["0.5", "0.4"] | None,
    Option("--ome-zarr", help="Version to be written, 0.5 unless told."),
]
Dtype = Annotated[
    Literal["uint16", "uint8"] | None,
    Option(help="Store integers, each channel multiplied so that its highest value fits."),
]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace an existing file or Zarr.")]


def convert_command(
    source: arg.Source,
    target: Target,
    axes: arg.Axes = None,
    voxel: Voxel = None,
    chunks: Chunks = None,
    shards: Shards = None,
    compression: Compression = None,
    version: Version = None,
    dtype: Dtype = None,
    missing: arg.Missing = "error",
    overwrite: Overwrite = False,
    max_memory: arg.MaxMemory = None,
) -> None:
    """Convert a TIFF to OME-Zarr with its pyramid, or back, within the memory allowed."""
    started, report = time.monotonic(), Report()
    check_output("convert", target, "OUT")
    check_apart("convert", target, source, argument="OUT")
    of_zarr = {"--chunks": chunks, "--shards": shards}
    of_zarr |= {"--compression": compression, "--ome-zarr": version}
    check_of_zarr("convert", target, of_zarr, argument="OUT")
    cells, blocks = _five("--chunks", chunks), _five("--shards", shards)
    memory = allowed_for("convert", max_memory)
    if memory <= 0:
        raise UsageError(f"convert: --max-memory must exceed the program's own, got {max_memory}")
    volume = open_volume(source, axes=axes, missing=missing)
    if voxel is not None:
        volume.voxel, volume.voxel_source = _edges(voxel), "--voxel"
    _report_source(volume, report)
    record = provenance(
        command="convert",
        input={"file": Path(source).name, "axes": volume.axes, "shape": list(volume.shape)},
    )
    with Steps(1, "blocks") as steps:
        notes = convert(
            volume,
            target,
            chunks=cells,
            shards=blocks,
            compression=compression or "blosc-zstd",
            version=version or "0.5",
            dtype=dtype,
            provenance=record,
            overwrite=overwrite,
            max_bytes=min(_ENOUGH, memory),
            progress=steps.reach,
        )
    _report_target(target, report)
    report.notes(list(notes))
    report.row("time", in_time(time.monotonic() - started))


def _report_source(volume: Volume, report: Report) -> None:
    nt, nc = volume.shape[:2]
    counts = f", {nc} channels" * (nc > 1) + f", {nt} time points" * (nt > 1)
    sizes = by_extents(volume.spatial_shape)
    report.row(
        "image",
        f"{Path(volume.location).name}: {sizes} (z, y, x){counts}, {volume.dtype}, "
        f"{in_bytes(volume.data.nbytes)}, {volume.format}",
    )
    report.notes(volume.notes)


def _report_target(target: str, report: Report) -> None:
    written = open_volume(target)
    text = f"{target}: {written.format}"
    if named_zarr(target):
        text += f", {describe_storage(written)}"
    report.row("result", text)


def describe_storage(volume: Volume) -> str:
    """Chunks, shards, levels and compression of an OME-Zarr in a few words."""
    shards = "" if volume.shards is None else f" in shards of {by_extents(volume.shards)}"
    levels = f"{len(volume.levels)} levels" if len(volume.levels) > 1 else "1 level"
    return f"chunks of {by_extents(volume.chunks)}{shards} (t, c, z, y, x), {levels}, " + (
        "uncompressed" if volume.compression == "none" else volume.compression
    )


def _five(option: str, text: str | None) -> tuple[int, ...] | None:
    """Extents (t, c, z, y, x) of three or five numbers."""
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (3, 5) or min(numbers) < 1:
        raise UsageError(
            f"convert: {option} must be three or five whole numbers above 0, Z,Y,X or T,C,Z,Y,X, "
            f"got {text!r}"
        )
    return (1, 1, *numbers) if len(numbers) == 3 else numbers


def _edges(text: str) -> tuple[float, float, float]:
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        z = y = x = 0.0
    if not (min(z, y, x) > 0 and max(z, y, x) < float("inf")):
        raise UsageError(f"convert: --voxel must be three lengths above 0, Z,Y,X, got {text!r}")
    return z, y, x
