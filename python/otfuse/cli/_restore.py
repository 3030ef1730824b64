# SPDX-License-Identifier: BSD-3-Clause
"""Each channel of each time point through the engine, in the order of the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from otfuse.cli._background import ChannelLevels
from otfuse.cli._errors import JobError, UsageError
from otfuse.cli._memory import batch_length
from otfuse.cli._options import DeconvolveOptions
from otfuse.cli._progress import Progress
from otfuse.io.stack import Stack

# Restored light where the camera was blind, this many times what it is anywhere else.
_RUNAWAY = 5.0


@dataclass
class Peaks:
    """Highest restored value of each channel where the camera saw, and where it was saturated."""

    seen: dict[int, float] = field(default_factory=dict)
    hidden: dict[int, float] = field(default_factory=dict)

    def look(self, channel: int, image: np.ndarray, result: np.ndarray, level: float) -> None:
        """Take in one restored block of a channel that saturates at `level`."""
        blind = image >= level
        for found, where in ((self.seen, ~blind), (self.hidden, blind)):
            top = float(result.max(initial=0.0, where=where))
            found[channel] = max(found.get(channel, 0.0), top)

    def runaways(self) -> list[int]:
        """Channels whose brightest light is where nothing held it back."""
        return [c for c, top in self.hidden.items() if top > _RUNAWAY * self.seen[c] > 0]


@dataclass(frozen=True)
class Job:
    """What is restored, and how."""

    options: DeconvolveOptions  # settled
    stack: Stack
    psfs: list[np.ndarray]  # one per channel
    levels: list[ChannelLevels]  # one per channel
    voxel: tuple[float | None, ...]

    def edges(self, ndim: int) -> list[float] | None:
        """Edges of a voxel for the total variation."""
        if self.options.tv == 0:
            return None
        known = [edge for edge in self.voxel[-ndim:] if edge is not None]
        if len(known) < ndim:
            raise UsageError(
                "deconvolve: --tv must be compared with the voxel size, got none; give --voxel"
            )
        return known


def restore(job: Job, progress: Progress, peaks: Peaks) -> Iterator[np.ndarray]:
    """Restored time points, (nt, nc, nz, ny, nx) each, one stack or one batch of images at a time.

    Parameters
    ----------
    job : Job
    progress : Progress
    peaks : Peaks
        Told the highest values of channels with saturated voxels.
    """
    stack, levels = job.stack, job.levels
    nt, nc = stack.data.shape[:2]
    step = batch_length(stack)
    for first in range(0, nt, step):
        times = slice(first, min(first + step, nt))
        result = np.empty((times.stop - first, *stack.data.shape[1:]), dtype=np.float32)
        for channel in range(nc):
            label = _label(stack, channel, times)
            show = progress.item(label, _compared(job, channel, result[:, channel].size))
            image = stack.data[times, channel]
            result[:, channel] = _restore_one(job, channel, image, show)
            if job.options.compute.on_gpu:
                progress.passed(label)
            saturation = levels[channel].saturation
            if saturation is not None:
                peaks.look(channel, image, result[:, channel], saturation.level)
            if not np.isfinite(result[:, channel].max()):
                raise JobError(
                    f"deconvolve: the result of {stack.channel_label(channel)} is not finite; "
                    "look at the PSF and at --background"
                )
        yield result


def _compared(job: Job, channel: int, n_voxels: int) -> int:
    """Voxels that the I-divergence of so many is a sum over: those reflected, too."""
    if job.options.boundary != "reflect":
        return n_voxels
    from otfuse.functional.plan import reflected_widths

    psf = job.psfs[channel]
    shape = job.stack.spatial_shape[-psf.ndim :]
    widths = reflected_widths(shape, psf.shape)
    return n_voxels // prod(shape) * prod(n + sum(w) for n, w in zip(shape, widths, strict=True))


def n_calls(stack: Stack) -> int:
    """Calls of the engine in the whole job."""
    nt, nc = stack.data.shape[:2]
    return nc * -(-nt // batch_length(stack))


def _label(stack: Stack, channel: int, times: slice) -> str:
    nt, nc = stack.data.shape[:2]
    parts = [stack.channel_label(channel)] if nc > 1 else []
    if nt > 1:
        last = "" if times.stop == times.start + 1 else f" to {times.stop}"
        parts.append(f"time {times.start + 1}{last} of {nt}")
    return ", ".join(parts)


def describe(options: DeconvolveOptions) -> str:
    """The iterations in a few words."""
    method = "plain" if options.acceleration == "none" else str(options.acceleration)
    if options.back_projector != "matched":
        method = options.back_projector
    variation = f", total variation {options.tv:g} µm" if options.tv > 0 else ""
    stop = "" if options.stop == "none" else f", stop {options.stop}"
    return method + variation + stop


def look_every(options: DeconvolveOptions, seconds: float) -> int:
    """Iterations between two looks at a run: about a second's, as a look is not free.

    Parameters
    ----------
    options : DeconvolveOptions
    seconds : float
        That an iteration takes.
    """
    if options.stop == "idiv":  # which looks for an end of its own
        return 5
    return max(5, round(1 / seconds))


def _restore_one(job: Job, channel: int, volumes: np.ndarray, show: Any) -> np.ndarray:
    """Restore (nt, nz, ny, nx), the PSF's rank deciding whether planes belong together."""
    import torch

    from otfuse import plan_richardson_lucy, richardson_lucy
    from otfuse.tiling import from_device, to_device

    options, psf, level = job.options, job.psfs[channel], job.levels[channel]
    spatial = volumes.shape[-psf.ndim :]
    # Always a copy: a mapped file is read-only, which torch does not take.
    image = np.array(volumes, dtype=np.float32, order="C").reshape(-1, *spatial)
    if level.n_negative:
        image = np.maximum(image, 0)
    planned = plan_richardson_lucy(spatial, psf.shape, boundary=options.boundary)
    device = options.compute.device
    y = to_device(device, image)
    h = torch.tensor(psf, dtype=torch.float32, device=y.device)
    mask = None if level.saturation is None else y < float(np.float32(level.saturation.level))
    restored = richardson_lucy(
        y,
        h,
        options.iters,
        background=level.background,
        boundary=options.boundary,
        acceleration=options.momentum,
        back_projector=options.projector,
        tv=options.tv,
        voxel=job.edges(psf.ndim),
        mask=mask,
        stop=options.stop_rule,
        gain=level.gain,
        offset=level.offset,
        # A GPU is left alone until it is done: a look would cost it time and memory.
        callback=None if options.compute.on_gpu else show,
        callback_every=look_every(options, planned.seconds_per_iteration * len(image)),
    )
    return from_device(device, restored).reshape(volumes.shape)
