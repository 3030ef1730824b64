# SPDX-License-Identifier: BSD-3-Clause
"""What is found once for all tiles of a volume: levels, means, tiles, numbers of iterations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.cli._background import ChannelLevels
from otfuse.cli._errors import UsageError
from otfuse.cli._memory import allowed_memory, too_little
from otfuse.cli._options import DeconvolveOptions, parse_memory, per_channel
from otfuse.cli._report import Report, number
from otfuse.io import Volume

if TYPE_CHECKING:
    from otfuse.jobs.survey import Survey
    from otfuse.tiling import LoopPlan

CHUNK = (1, 1, 64, 128, 128)  # of the result
COMPRESSION = "blosc-lz4"  # twice as fast as the best one, for a twentieth more bytes
# Per voxel of a tile besides the loop: its counts in float32, which its result takes the place of,
# and the counts of the next tile or the result of the last one.
_HELD = 4 + 4
# Bytes while they are unpacked, as they are and as stored; and while each thread packs them.
_UNPACKED, _PACKED = 2, 5
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
        name = f"{source.channel_label(channel)}: " if source.shape[1] > 1 else ""
        text = f"{name}{number(level.background)} ({level.source})"
        report.row("background" if channel == 0 else "", text)
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


def stop_of(options: DeconvolveOptions) -> str | None:
    """The stop, as the loop names it."""
    return None if options.stop == "none" else str(options.stop).replace("-", "_")


def method_of(options: DeconvolveOptions) -> dict[str, Any]:
    """Arguments of the loop, of every tile."""
    matched = options.back_projector == "matched"
    return {
        "acceleration": None if options.acceleration == "none" else options.acceleration,
        "back_projector": None if matched else options.back_projector.replace("-", "_"),
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
    from otfuse.tiling import count_bytes, plan_loop

    method = method_of(options)
    given = None if options.max_memory is None else parse_memory(options.max_memory)
    allowed = allowed_memory(given)
    if given is None and options.local_cluster:
        allowed //= options.local_cluster
    count = partial(
        count_bytes,
        psf_shape=psfs[0].shape,
        stop=stop_of(options),
        acceleration=method["acceleration"],
        tv=options.tv > 0,
    )
    try:
        return plan_loop(
            source.shape[2:],
            psfs,
            n_iters,
            max_bytes=_rounded(allowed),
            grid=grid,
            acceleration=method["acceleration"],
            back_projector=method["back_projector"] is not None,
            tv=options.tv > 0,
            extra_bytes=_held_by(source, rows),
            work_bytes=count if pilot else None,
        )
    except ValueError as error:
        raise too_little("deconvolve", "a tile", allowed, error) from None


def _held_by(source: Volume, rows: bool) -> Callable[[tuple[int, ...]], int]:
    """What gives the bytes that a job takes besides the loop, from the extents of a tile."""
    from otfuse.tiling.job_plan import held_bytes

    def held(tile: tuple[int, ...]) -> int:
        if rows:
            return held_bytes(tile, shape=source.shape[2:]) + unpacking_bytes(source, tile)
        return _HELD * prod(tile) + unpacking_bytes(source, tile) + packing_bytes(source)

    return held


def unpacking_bytes(source: Volume, tile: Sequence[int]) -> int:
    """Memory for a moment while a tile (z, y, x) is read."""
    from otfuse.jobs.heap import CHUNKS_AT_ONCE

    layer = min(source.layer, tile[0]) * prod(tile[1:])
    chunks = _UNPACKED * CHUNKS_AT_ONCE * prod(source.chunks)
    return source.dtype.itemsize * (layer + chunks)


def packing_bytes(source: Volume) -> int:
    """Memory while blocks of a result of a source's extents are put together and packed."""
    from otfuse.jobs.run import THREADS

    return THREADS * _PACKED * 4 * prod(map(min, CHUNK, source.shape))


def needed_bytes(
    options: DeconvolveOptions, source: Volume, plan: LoopPlan, *, rows: bool = False
) -> int:
    """Memory of a job besides the program, as its tiles were chosen by."""
    from otfuse.functional.rl_tile import RichardsonLucyTile

    method, tile = method_of(options), plan.tiles.tile
    work = RichardsonLucyTile.work_bytes(
        plan.grid,
        tile,
        acceleration=method["acceleration"],
        back_projector=method["back_projector"] is not None,
        tv=options.tv > 0,
    )
    return work + _held_by(source, rows)(tile)


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
        stop=str(stop_of(options)),
        saturation=None if level.saturation is None else level.saturation.level,
        background=level.background,
        gain=level.gain,
        offset=level.offset,
        voxel=edges_of(options, voxel),
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
