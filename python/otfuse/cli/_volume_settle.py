# SPDX-License-Identifier: BSD-3-Clause
"""What is found once for all tiles of a volume: levels, means, tiles, numbers of iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.cli._background import ChannelLevels, report_levels
from otfuse.cli._errors import UsageError
from otfuse.cli._memory import allowed_for, too_little
from otfuse.cli._options import DeconvolveOptions, per_channel
from otfuse.cli._report import Report, in_bytes, number
from otfuse.cli._volume_bytes import TileBytes
from otfuse.io import Volume

if TYPE_CHECKING:
    from otfuse.jobs.survey import Survey
    from otfuse.tiling import LoopPlan

COMPRESSION = "blosc-lz4"  # twice as fast as the best one, for a twentieth more bytes
_PILOT = 30  # iterations for which the tile is chosen that decides how many there will be
_STEPS_LOG2 = 6  # of memory: the plan does not hang on a few pages more or less


def settle(
    options: DeconvolveOptions,
    source: Volume,
    psfs: list[np.ndarray],
    voxel: Any,
    report: Report,
    *,
    rows: bool = False,
) -> dict[str, Any]:
    """Look at all voxels, choose the tiles and decide when they stop; JSON can hold the result.

    Raises
    ------
    UsageError  if a voxel is not finite or negative, or memory does not suffice.
    """
    from otfuse.jobs.heap import give_back
    from otfuse.jobs.survey import survey

    levels, means, brightest = [], [], []
    for channel in range(source.shape[1]):
        automatic = options.background == "auto"
        seen = survey(source, channel, smooth=automatic, saturated=options.mask_saturated)
        level = _level(options, source, channel, seen)
        levels.append(level)
        means.append(max(seen.mean() - (level.offset or 0.0), 0.0))
        brightest.append(list(seen.brightest))
    report_levels(levels, options, source, report)
    give_back()
    iterations = [options.iters or 1] * len(psfs)
    if options.stop != "none":
        pilot = plan_volume(
            options, source, psfs, min(_PILOT, options.iters or 1), rows=rows, pilot=True
        )
        iterations = [
            _count(options, source, psfs[c], levels[c], pilot, (c, brightest[c]), voxel)
            for c in range(len(psfs))
        ]
    plan = plan_volume(options, source, psfs, max(iterations), rows=rows)
    return {
        "levels": [asdict(level) for level in levels],
        "means": means,
        "grid": list(plan.grid),
        "tiles": places_of(plan),
        "iterations": iterations,
    }


def places_of(plan: LoopPlan) -> list[Any]:
    """Where tiles begin, end and are of no use: what a resumed job must find as it was."""
    return [plan.tiles.starts, plan.tiles.stops, plan.tiles.margin]


def _level(options: DeconvolveOptions, source: Volume, channel: int, seen: Survey) -> ChannelLevels:
    """Background, offset and saturation of a channel, by the rules for stacks."""
    label = source.channel_label(channel)
    if seen.n_bad:
        raise UsageError(
            f"deconvolve: image must be finite, got {seen.n_bad} voxels of NaN or infinity in "
            f"{label}; replace them first"
        )
    if seen.n_negative and options.negative == "error":
        raise UsageError(
            f"deconvolve: image must not be negative, got {seen.n_negative} negative voxels "
            f"in {label}, lowest {seen.lowest:.6g}; give --negative clip"
        )
    gain, offset, given = (
        None if text in (None, "auto") else per_channel(str(text), name, source.shape[1])[channel]
        for text, name in (
            (options.gain, "--gain"),
            (options.offset, "--offset"),
            (options.background, "--background"),
        )
    )
    if given is not None:
        return ChannelLevels(given, "--background", seen.saturation, seen.n_negative, gain, offset)
    offset = seen.dark if offset is None else offset
    origin = f"auto: minimum of the smoothed image; {number(offset)} of it no light"
    return ChannelLevels(seen.smooth, origin, seen.saturation, seen.n_negative, gain, offset)


def method_of(options: DeconvolveOptions) -> dict[str, Any]:
    """Arguments of the loop, of every tile."""
    return {
        "acceleration": options.momentum,
        "back_projector": options.projector,
        "tv": options.tv,
    }


def plan_volume(
    options: DeconvolveOptions,
    source: Volume,
    psfs: list[np.ndarray],
    n_iters: int,
    grid: list[int] | None = None,
    *,
    rows: bool = False,
    pilot: bool = False,
) -> LoopPlan:
    """The tiles that memory allows, or those on a grid chosen before.

    With `rows` results meet in memory and whole rows of tiles are written, not blocks. Those of
    a `pilot` are for finding the number of iterations, which takes more than they do.
    """
    from otfuse.tiling import plan_loop

    allowed = allowed_for("deconvolve", options.max_memory, options.local_cluster)
    most, compute = _rounded(allowed), options.compute
    takes = TileBytes(options, source, psfs[0].shape, rows, pilot)

    def cost(box: Sequence[int], tile: Sequence[int]) -> int:
        return compute.counted(takes.here(box, tile), takes.there(box, tile), most)

    try:
        return plan_loop(
            source.shape[2:],
            psfs,
            n_iters,
            max_bytes=most,
            grid=grid,
            acceleration=options.momentum,
            back_projector=options.projector is not None,
            tv=options.tv > 0,
            work_bytes=cost,
        )
    except ValueError as error:
        if compute.on_gpu:
            raise UsageError(
                "deconvolve: memory must hold a tile, got "
                f"{in_bytes(allowed)} here and {in_bytes(compute.free)} on the GPU; give a "
                "larger --max-memory, a smaller PSF or --device cpu"
            ) from None
        raise too_little("deconvolve", "a tile", allowed, error) from None


def _rounded(n_bytes: int) -> int:
    """Cut to its first binary digits."""
    step = 1 << max(0, n_bytes.bit_length() - _STEPS_LOG2)
    return max(1, n_bytes // step * step)


def _count(
    options: DeconvolveOptions,
    source: Volume,
    psf: np.ndarray,
    level: ChannelLevels,
    plan: LoopPlan,
    place: tuple[int, list[int]],
    voxel: Any,
) -> int:
    """Iterations of all tiles of a channel, from the one around its brightest place."""
    from otfuse.tiling import count_iterations, tile_around

    channel, (t, *middle) = place
    tile = tile_around(plan.tiles, middle)
    return count_iterations(
        source.read((t, channel, *tile.slices)),
        psf,
        options.iters or 1,
        stop=str(options.stop_rule),
        saturation=None if level.saturation is None else level.saturation.level,
        background=level.background,
        gain=level.gain,
        offset=level.offset,
        voxel=edges_of(options, voxel),
        device=options.compute.here,
        **method_of(options),
    )


def edges_of(options: DeconvolveOptions, voxel: Any) -> tuple[float, ...] | None:
    """Edges of a voxel for the total variation."""
    if options.tv == 0:
        return None
    if not all(voxel):
        raise UsageError(
            "deconvolve: --tv must be compared with the voxel size, got none; give --voxel"
        )
    return tuple(voxel)
