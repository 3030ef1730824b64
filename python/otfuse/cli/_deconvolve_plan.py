# SPDX-License-Identifier: BSD-3-Clause
"""Whether images are restored as a whole: grid, memory here and on a GPU, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from otfuse.cli import _restore
from otfuse.cli._background import ChannelLevels
from otfuse.cli._device import CPU
from otfuse.cli._errors import UsageError
from otfuse.cli._memory import JobMemory, allowed_for, batch_length, check_memory, job_memory
from otfuse.cli._options import DeconvolveOptions
from otfuse.cli._report import Report, by_extents, in_bytes, in_time
from otfuse.io import Stack, release_pages

if TYPE_CHECKING:
    from otfuse.tiling import Plan

# Bytes: of a voxel where pixels are left out besides their mask, and where an offset is taken off;
# on a GPU of a voxel of the PSF, which is normalised and made a back projector of there.
_MASKED, _LESS_OFFSET, _OF_PSF = 5, 4, 48


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

    on_gpu = options.compute.on_gpu
    rate = measure_rate(device=options.compute.device) if on_gpu else None
    whole = takes_whole(options, stack, [psf.shape for psf in psfs], levels, rate)
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
    levels: Sequence[ChannelLevels],
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
    levels : sequence of ChannelLevels
        Empty where they are not known.
    rate : float, optional
        Nanoseconds per voxel of the grid and iteration; by default what the CPU may take.
    """
    from otfuse.tiling import pinned_bytes

    on_gpu, masked = options.compute.on_gpu, any(level.saturation for level in levels)
    jobs = [_plan_one(options, stack, shape, masked, rate) for shape in psf_shapes]
    largest = max(jobs, key=lambda job: job.peak_bytes)
    length, voxels = batch_length(stack), prod(stack.spatial_shape)
    loop = largest.peak_bytes - _never_begun(options, largest, length)
    loop += voxels * (_MASKED * masked + _LESS_OFFSET * any(level.offset for level in levels))
    there = 0
    if on_gpu:
        there = length * (loop + voxels * (4 + masked)) + _OF_PSF * max(map(prod, psf_shapes))
        loop = 2 * pinned_bytes((length, voxels)) // length  # both ways
    shown = options.preview is not None
    here = job_memory(loop, stack, options.dtype, masked, shown)
    times = [job.seconds for job in jobs if job.seconds is not None]
    seconds = len(stack.data) * sum(times) if times else None
    return Whole(largest.grid, here, there, seconds)


def _plan_one(
    options: DeconvolveOptions,
    stack: Stack,
    psf_shape: Sequence[int],
    masked: bool,
    rate: float | None,
) -> Plan:
    """Of one image; on the CPU looks at the run hold what "idiv" does."""
    from otfuse import plan

    return plan(
        stack.spatial_shape[-len(psf_shape) :],
        "float32",
        psf_shape,
        device=options.compute.device,
        n_iters=options.iters or 1,
        boundary=options.boundary,
        acceleration=options.momentum,
        back_projector=options.projector,
        tv=options.tv,
        mask=masked,
        stop=options.stop_rule or (None if options.compute.on_gpu else "idiv"),
        rate=rate,
    )


def _never_begun(options: DeconvolveOptions, job: Plan, length: int) -> int:
    """Bytes of a call's states where there is one call, which begins with none."""
    each = (job.seconds or 0) / job.n_iters
    if options.stop_rule or options.compute.on_gpu:
        return 0
    if job.n_iters > _restore.look_every(options, each * length):
        return 0
    return (job.parts["stop"] + job.parts["result"]) // 2
