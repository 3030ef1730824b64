# SPDX-License-Identifier: BSD-3-Clause
"""Whether images are restored as a whole: grid, memory here and on a GPU, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from otfuse.cli import _restore
from otfuse.cli._background import ChannelLevels
from otfuse.cli._device import CPU
from otfuse.cli._errors import UsageError
from otfuse.cli._memory import JobMemory, allowed_for, batch_length, check_memory, job_memory
from otfuse.cli._options import DeconvolveOptions
from otfuse.cli._report import Report, by_extents, in_bytes, in_time
from otfuse.io import Stack, release_pages

# Bytes on a GPU: of a voxel where pixels are left out, and where an offset is taken off; of a voxel
# of the PSF, which is normalised and made a back projector of there.
_MASKED, _LESS_OFFSET, _OF_PSF = 6, 4, 48


class Whole(NamedTuple):
    """What whole images take.

    Attributes
    ----------
    grid : tuple of int
    here : JobMemory
        Of the machine.
    there : int
        Bytes of a GPU; 0 on the CPU.
    seconds : float or None
        Of all iterations; None where no rate is known.
    """

    grid: tuple[int, ...]
    here: JobMemory
    there: int
    seconds: float | None

    @property
    def memory(self) -> str:
        """`312 MB`, `40 MB and 312 MB on the GPU`."""
        gpu = f" and {in_bytes(self.there)} on the GPU" if self.there else ""
        return in_bytes(self.here.total) + gpu


def plan_whole(
    options: DeconvolveOptions,
    stack: Stack,
    psfs: Sequence[np.ndarray],
    levels: Sequence[ChannelLevels],
    report: Report,
) -> DeconvolveOptions | None:
    """Print what the job takes; the options to go on with, None where tiles may take less.

    Where nothing but the default asked for a GPU that does not suffice, that is the CPU's turn.

    Raises
    ------
    UsageError  if it is too much and cannot be cut into tiles.
    """
    from otfuse.cli._deconvolve_volume import can_be_cut
    from otfuse.tiling import measure_rate

    masked = any(level.saturation for level in levels)
    on_gpu = options.compute.on_gpu
    rate = measure_rate(device=options.compute.device) if on_gpu else None
    whole = takes_whole(options, stack, [psf.shape for psf in psfs], masked, rate)
    most = "" if options.stop == "none" else "at most "
    report.row(
        "plan",
        f"{most}{options.iters} iterations, {_restore.describe(options)}, {options.boundary} "
        f"edges, grid {by_extents(whole.grid)}, {whole.memory}, "
        f"{most or 'about '}{in_time(whole.seconds or 0)}",
    )
    small, cut = whole.there > options.compute.free, can_be_cut(options)
    if small and not cut and options.device == "auto":
        report.notes(["more than the GPU may take, and not to be cut into tiles: on the CPU"])
        return plan_whole(replace(options, compute=CPU), stack, psfs, levels, report)
    try:
        release_pages(stack.data)  # a mapped file's count as the program's
        check_memory(whole.here, allowed_for("deconvolve", options.max_memory))
        if small:
            raise UsageError(
                f"deconvolve: memory must not exceed {in_bytes(options.compute.free)} on the GPU, "
                f"got a plan of {in_bytes(whole.there)}; give --device cpu, or --boundary "
                "extended and --acceleration shb, which can be cut into tiles"
            )
    except UsageError:
        if not cut:
            raise
        report.notes(["that is more than it may take: in tiles"])
        return None
    return options


def takes_whole(
    options: DeconvolveOptions,
    stack: Stack,
    psf_shapes: Sequence[Sequence[int]],
    masked: bool,
    rate: float | None,
) -> Whole:
    """What restoring a stack takes where its images are not cut.

    Parameters
    ----------
    options : DeconvolveOptions
        Settled.
    stack : Stack
    psf_shapes : sequence of shapes
        Of each channel's PSF.
    masked : bool
        Whether pixels are left out.
    rate : float, optional
        Nanoseconds per voxel of the grid and iteration; by default what the CPU may take.
    """
    find = _on_gpu if options.compute.on_gpu else _on_cpu
    return find(options, stack, psf_shapes, masked, rate)


def _on_cpu(
    options: DeconvolveOptions,
    stack: Stack,
    psf_shapes: Sequence[Sequence[int]],
    masked: bool,
    rate: float | None,
) -> Whole:
    plans = [
        _restore.plan_one(options, stack.spatial_shape[-len(shape) :], shape, masked)
        for shape in psf_shapes
    ]
    largest = max(plans, key=lambda plan: plan.work_bytes)
    here = _held(options, stack, largest.work_bytes, masked)
    each = (
        plan.seconds_per_iteration if rate is None else 1e-9 * rate * plan.padded_voxels
        for plan in plans
    )
    seconds = sum(each) * (options.iters or 0) * len(stack.data)
    return Whole(tuple(largest.grid), here, 0, seconds)


def _on_gpu(
    options: DeconvolveOptions,
    stack: Stack,
    psf_shapes: Sequence[Sequence[int]],
    masked: bool,
    rate: float | None,
) -> Whole:
    from otfuse import plan
    from otfuse.tiling import pinned_bytes

    jobs = [
        plan(
            stack.spatial_shape[-len(shape) :],
            "float32",
            shape,
            device=options.compute.device,
            n_iters=options.iters or 0,
            boundary=options.boundary,
            acceleration=options.momentum,
            back_projector=options.projector,
            tv=options.tv,
            mask=masked,
            stop=options.stop_rule,
            rate=rate,
        )
        for shape in psf_shapes
    ]
    largest = max(jobs, key=lambda job: job.peak_bytes)
    length, voxels = batch_length(stack), prod(stack.spatial_shape)
    image = voxels * (4 + _MASKED * masked + _LESS_OFFSET * (options.gain is not None))
    there = length * (largest.peak_bytes + image) + _OF_PSF * max(map(prod, psf_shapes))
    both_ways = 2 * pinned_bytes((length, voxels))
    # A job's memory takes the work on one image of a batch.
    here = _held(options, stack, both_ways // length, masked)
    seconds = None if rate is None else sum(job.seconds or 0 for job in jobs) * len(stack.data)
    return Whole(largest.grid, here, there, seconds)


def _held(options: DeconvolveOptions, stack: Stack, work: int, masked: bool) -> JobMemory:
    return job_memory(work, stack, options.dtype, masked, options.preview is not None)
