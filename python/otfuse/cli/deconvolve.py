# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve`: a stack in, a restored stack out."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.cli import _arguments as arg
from otfuse.cli import _background, _optics, _psf_input, _restore
from otfuse.cli._deconvolve_plan import plan_whole
from otfuse.cli._device import compute_of, report_compute
from otfuse.cli._options import DeconvolveOptions, as_typed, located
from otfuse.cli._progress import Progress
from otfuse.cli._report import Report, by_extents, in_time, number
from otfuse.cli._volume_preview import check_previews, preview_paths, preview_title
from otfuse.io import Stack, Written, check_target, provenance, read_stack, write_stack
from otfuse.io.zarr_store import is_zarr, named_zarr

_MANY_CHANNELS = 8


def deconvolve_command(
    image: arg.Image,
    output: arg.Output,
    axes: arg.Axes = None,
    psf: arg.Psf = None,
    psf_center: arg.PsfCenter = "peak",
    psf_axes: arg.PsfAxes = None,
    na: arg.Na = None,
    wavelength: arg.Wavelength = None,
    immersion_index: arg.ImmersionIndex = None,
    voxel: arg.Voxel = None,
    modality: arg.Modality = None,
    excitation_wavelength: arg.ExcitationWavelength = None,
    pinhole: arg.Pinhole = None,
    sheet_thickness: arg.SheetThickness = None,
    vectorial: arg.Vectorial = False,
    sample_index: arg.SampleIndex = None,
    depth: arg.Depth = 0.0,
    coverslip: arg.Coverslip = None,
    iters: arg.Iters = None,
    acceleration: arg.Acceleration = None,
    back_projector: arg.BackProjector = "matched",
    tv: arg.Tv = 0.0,
    stop: arg.Stop = None,
    gain: arg.Gain = None,
    boundary: arg.Boundary = "extended",
    background: arg.Background = "auto",
    offset: arg.Offset = None,
    mask_saturated: arg.MaskSaturated = True,
    negative: arg.Negative = "error",
    dtype: arg.Dtype = "float32",
    compression: arg.Compression = None,
    preview: arg.Preview = None,
    overwrite: arg.Overwrite = False,
    device: arg.Device = "auto",
    threads: arg.Threads = None,
    max_memory: arg.MaxMemory = None,
    local_cluster: arg.LocalCluster = None,
    scheduler: arg.Scheduler = None,
) -> None:
    """Restore a stack by Richardson-Lucy deconvolution, each channel and time point.

    The PSF comes from a file, or from the optics: those given here, else those in the file.
    """
    typed = dict(locals())
    typed["image"], typed["psf"] = located(image), list(typed["psf"] or [])
    run_deconvolution(DeconvolveOptions(**typed))


def run_deconvolution(options: DeconvolveOptions) -> None:
    """Read, look, plan, restore, write, show.

    Parameters
    ----------
    options : DeconvolveOptions
    """
    started, report = time.monotonic(), Report()
    options.check()
    options = replace(options, compute=compute_of("deconvolve", options))
    if named_zarr(options.output):
        from otfuse.cli._deconvolve_volume import deconvolve_volume

        deconvolve_volume(options)
        return
    if is_zarr(options.image):
        from otfuse.cli._deconvolve_rows import deconvolve_rows

        deconvolve_rows(options)
        return
    stack = read_stack(options.image, axes=options.axes, mmap=True)
    _check_targets(options, stack)
    report_image(stack, report)
    report_compute(options.compute, report)
    optics = _optics.choose_optics(options, stack)
    modelled = not options.psf and stack.data.shape[2] > 1
    options = options.settled(optics.modality if modelled else None)
    _optics.introduce(optics, options, stack, report)
    levels = _background.survey(options, stack)
    set_threads(options.threads)
    psfs = _psf_input.prepare_psfs(options, stack, optics, report)
    _optics.warn_of_sampling(optics, stack, report)
    _background.report_levels(levels, options, stack, report)
    _background.warn_of_levels(levels, options, stack, report)
    whole = plan_whole(options, stack, psfs, levels, report)
    if whole is None:
        from otfuse.cli._deconvolve_rows import deconvolve_rows

        del stack, levels, psfs  # the file's pages count as memory while they are mapped
        deconvolve_rows(options, introduced=True)
        return
    options = whole
    record = _record(options, stack, optics, psfs, levels)
    loop_started = time.monotonic()
    peaks = _restore.Peaks()
    written, first = _run(options, stack, optics, psfs, levels, record, peaks)
    loop_seconds = time.monotonic() - loop_started
    report_written(written, options.dtype, stack, report)
    for channel in peaks.runaways():
        report.warn(
            f"the brightest restored voxels of {stack.channel_label(channel)} "
            f"({number(peaks.hidden[channel])}, elsewhere {number(peaks.seen[channel])} at most) "
            "are saturated ones, where the image holds nothing back; try --no-mask-saturated, "
            "and look whether the PSF is right"
        )
    if options.preview is not None and first is not None:
        _write_previews(options, stack, optics, first, report)
    total = time.monotonic() - started
    report.row("time", f"{in_time(total)}, {in_time(loop_seconds)} of it restoring and writing")


def report_image(stack: Stack, report: Report) -> None:
    """Print what the file holds, and how its axes were understood."""
    nt, nc = stack.data.shape[:2]
    name = stack.path.name if stack.path else "image"
    sizes = by_extents(stack.spatial_shape)
    counts = f", {nc} channels" * (nc > 1) + f", {nt} time points" * (nt > 1)
    report.row("image", f"{name}: {sizes} (z, y, x){counts}, {stack.data.dtype}, {stack.format}")
    if stack.has_names:
        report.row("", "channels " + ", ".join(stack.channel_label(c) for c in range(nc)))
    report.notes(stack.notes)
    if stack.data.shape[2] == 1 and (nt > 1 or nc > _MANY_CHANNELS):
        kind = "time points" if nt > 1 else "channels"
        report.notes(
            [f"each of the {kind} is a 2-D image of its own; if they are planes, give --axes ZYX"]
        )


def _check_targets(options: DeconvolveOptions, stack: Stack) -> None:
    n_bytes = stack.data.size * np.dtype(options.dtype).itemsize
    if options.dtype != "float32":
        n_bytes += stack.data.size * 4  # the floats wait on disk for the factor
    check_target(options.output, overwrite=options.overwrite, n_bytes=n_bytes)
    check_previews(options, stack.data.shape[1])


def set_threads(n: int | None) -> None:
    """Compute with so many threads, if a number was given."""
    if n is not None:
        import torch

        torch.set_num_threads(n)


def _record(
    options: DeconvolveOptions,
    stack: Stack,
    optics: _optics.JobOptics,
    psfs: list[np.ndarray],
    levels: list[_background.ChannelLevels],
) -> dict[str, Any]:
    """Provenance: what was asked for, and what came of `auto` and of the file's metadata."""
    typed = {key: value for key, value in as_typed(options).items() if value not in (None, [])}
    for level in levels:
        level.background = float(level.background)
    return provenance(
        psf=psfs,
        command="deconvolve",
        input={
            "file": Path(options.image).name,
            "axes": stack.axes,
            "shape": list(stack.data.shape),
        },
        options=typed,
        optics=asdict(optics),
        device=options.compute.kind,
        channels=[
            {"name": stack.channel_label(channel), **asdict(level)}
            for channel, level in enumerate(levels)
        ],
    )


def _run(
    options: DeconvolveOptions,
    stack: Stack,
    optics: _optics.JobOptics,
    psfs: list[np.ndarray],
    levels: list[_background.ChannelLevels],
    record: dict[str, Any],
    peaks: _restore.Peaks,
) -> tuple[Written, np.ndarray | None]:
    """Restore and write; also the first time point, if a preview will want it."""
    first: list[np.ndarray] = []
    job = _restore.Job(options, stack, psfs, levels, optics.voxel)
    job.edges(psfs[0].ndim)  # missing ones are told before the first iteration
    with Progress(_restore.n_calls(stack), options.iters or 0) as progress:

        def blocks() -> Any:
            for block in _restore.restore(job, progress, peaks):
                if options.preview is not None and not first:
                    first.append(block[0].copy())
                yield block

        written = write_stack(
            options.output,
            blocks(),
            like=stack,
            voxel=optics.voxel,
            dtype=options.dtype,
            provenance=record,
            overwrite=options.overwrite,
            shape=stack.data.shape,
        )
    return written, (first[0] if first else None)


def report_written(written: Written, dtype: str, stack: Stack, report: Report) -> None:
    """Print what was written, with the highest value of each channel."""
    kind = {"imagej": "ImageJ TIFF", "ome": "OME-TIFF"}[written.kind]
    report.row("result", f"{written.path}: {dtype}, {kind}")
    report_highest(written, stack, report)
    report.notes(list(written.notes))


def report_highest(written: Written, stack: Stack, report: Report) -> None:
    """Print the highest value of each channel, and what it was multiplied by."""
    for channel, top in enumerate(written.highest):
        name = f"{stack.channel_label(channel)}: " if len(written.highest) > 1 else ""
        text = f"{name}highest value {number(top)}"
        if written.factors:
            text += f", stored multiplied by {written.factors[channel]:.6g}"
        report.notes([text])


def _write_previews(
    options: DeconvolveOptions,
    stack: Stack,
    optics: _optics.JobOptics,
    first: np.ndarray,
    report: Report,
) -> None:
    from otfuse._preview import write_preview

    for channel, path in enumerate(preview_paths(options, stack.data.shape[1])):
        title = preview_title(options, stack, channel)
        before = np.asarray(stack.data[0, channel], dtype=np.float32)
        write_preview(path, before, first[channel], optics.voxel, title=title)
        report.row("preview" if channel == 0 else "", str(path))
