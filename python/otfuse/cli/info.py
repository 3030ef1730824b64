# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse info`: what a file holds, and what deconvolving it would take."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from typer import Option

from otfuse.cli import _arguments as arg
from otfuse.cli import _optics
from otfuse.cli._deconvolve_plan import takes_whole
from otfuse.cli._device import foreseen_compute
from otfuse.cli._memory import allowed_memory
from otfuse.cli._models import find_model
from otfuse.cli._options import DeconvolveOptions
from otfuse.cli._psf_model import NEEDED, model_shape
from otfuse.cli._report import Report, by_extents, in_bytes, in_time
from otfuse.cli.convert import describe_storage
from otfuse.io import Stack, Volume, find_provenance, open_volume

_ITERATIONS = 30

Model = Annotated[
    str | None,
    Option(
        metavar="rln|mrbcr",
        help="A network whose tiles and time on the CPU to project; takes a second.",
    ),
]


def info_command(
    file: arg.Source,
    axes: arg.Axes = None,
    model: Model = None,
    device: arg.Device = "auto",
) -> None:
    """Print axes, dtype, voxel size and optics, and the memory and time of a deconvolution.

    With `--model`, also the tiles, memory and time that a network would take on the CPU here. A
    GPU of `--device` need not be here: its memory is counted, its time unknown.
    """
    compute = foreseen_compute("info", device)
    if model is not None:
        find_model("info", model)
    stack, report = open_volume(file, axes=axes), Report()
    options = DeconvolveOptions(
        image=Path(file), output=Path(file), axes=axes, iters=_ITERATIONS, compute=compute
    )
    report_file(stack, report)
    optics = _optics.choose_optics(options, stack)
    _optics.report_voxel(optics, report)
    if stack.time_step:
        report.row("time step", f"{stack.time_step:g} s")
    _report_optics(optics, stack, report)
    _report_provenance(stack, report)
    _report_cost(options.settled(), optics, stack, report)
    if model is not None:
        from otfuse.cli._projection import report_projection

        report_projection(model, stack, report)


def report_file(stack: Volume, report: Report) -> None:
    """Print name, axes, extents, dtype, storage and channels."""
    nt, nc, nz, ny, nx = stack.data.shape
    report.row("file", f"{stack.location} ({stack.format})")
    report.row("axes", f"{stack.axes} (the file says {stack.file_axes})")
    report.notes(stack.notes)
    extents = {"T": nt, "C": nc, "Z": nz, "Y": ny, "X": nx}
    report.row("extents", by_extents(tuple(extents[axis] for axis in stack.axes)))
    report.row("dtype", f"{stack.data.dtype}, {in_bytes(stack.data.nbytes)}")
    if stack.kind == "zarr":
        report.row("storage", describe_storage(stack))
        sizes = (by_extents(level[2:]) for level in stack.levels[1:])
        report.notes([f"pyramid of {', '.join(sizes)}"] if len(stack.levels) > 1 else [])
    if stack.has_names:
        report.row("channels", ", ".join(stack.channel_label(c) for c in range(nc)))


def _report_optics(optics: _optics.JobOptics, stack: Stack, report: Report) -> None:
    if not stack.optics.sources:
        report.row("optics", "none in the file")
        return
    _optics.report_optics(optics, stack, report)
    _optics.warn_of_sampling(optics, stack, report)


def _report_provenance(stack: Stack, report: Report) -> None:
    record = find_provenance(stack.description)
    if record is not None:
        command = record.get("parameters", {}).get("command", "otfuse")
        report.row("made by", f"otfuse {record.get('version')} {command}, {record.get('time')}")


def _report_cost(
    options: DeconvolveOptions, optics: _optics.JobOptics, stack: Stack, report: Report
) -> None:
    """Memory and time of the default deconvolution with the PSF that it would use."""
    from otfuse.tiling import measure_rate

    shape, assumed = _psf_shape(optics, stack)
    compute, shapes = options.compute, [shape] * stack.data.shape[1]
    there = not compute.on_gpu or compute.free > 0
    rate = measure_rate(device=compute.device) if there else None
    whole = takes_whole(options, stack, shapes, (), rate)
    time = "an unknown time" if whole.seconds is None else in_time(whole.seconds)
    report.row(
        "deconvolve",
        f"about {whole.memory} and {time} for {_ITERATIONS} iterations of the default kind, with "
        f"{assumed} PSF of {by_extents(shape)}; grid {by_extents(whole.grid)}",
    )
    allowed = allowed_memory(None)
    if whole.here.total > allowed:
        report.notes([f"that is more than the {in_bytes(allowed)} it may take here: in tiles"])
    if not there:
        report.notes([f"there is no {compute.device} here to measure the time on"])
    elif whole.there > compute.free:
        report.notes([f"that is more than {in_bytes(compute.free)} of the GPU: in tiles"])
    missing = optics.missing(flat=stack.data.shape[2] == 1)
    if missing:
        report.notes([f"it needs {', '.join(missing)}, or a PSF file with --psf"])


def _psf_shape(optics: _optics.JobOptics, stack: Stack) -> tuple[tuple[int, ...], str]:
    """Extents of the PSF that the optics call for, else of one as large as makes a difference."""
    nz, ny, nx = stack.spatial_shape
    flat = nz == 1
    if optics.missing(flat) or optics.modality not in NEEDED:
        full = (2 * nz - 1, ny, nx)
        return (full[1:] if flat else full), "an assumed"
    dz, dy, dx = optics.voxel
    voxel = (dz or 1.0, dy or 1.0, dx or 1.0)
    channels = (optics.of_channel(channel) for channel in range(stack.data.shape[1]))
    wanted = max(
        (model_shape(optics.modality, (nz, ny, nx), voxel, values) for values in channels),
        key=math.prod,
    )
    return (wanted[1:] if flat else wanted), "the modelled"
