# SPDX-License-Identifier: BSD-3-Clause
"""Restoring each plane of a stack by a network for images, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.cli._errors import UsageError
from otfuse.cli._memory import allowed_for, too_little
from otfuse.cli._predict_options import PredictOptions
from otfuse.cli._report import Report, by_extents, how_many, in_bytes, number
from otfuse.cli._steps import Steps
from otfuse.io import Stack

if TYPE_CHECKING:
    from otfuse.tiling import TilePlan
    from otfuse.tiling.mrbcr_plan import MrbcrMemory

# Shares of pixels left below 0 and above 1 by `--normalize percentile`.
_PERCENTILES = (0.1, 99.9)


def predict_planes(
    options: PredictOptions, network: Any, stack: Stack, report: Report
) -> Iterator[np.ndarray]:
    """Restored time points, (1, nc, nz, ny, nx) each.

    Parameters
    ----------
    options : PredictOptions
    network : Module
        Has `restore`, which takes and gives arrays of shape (n, ny, nx).
    stack : Stack
    report : Report
        Told the plan, and with `--verbose` how much tiles show.
    """
    nt, nc, nz, *extents = stack.data.shape
    result_bytes = 4 * nc * nz * prod(extents)
    plan = plan_of_options(options, network, extents, result_bytes)
    report_planes(options, network, plan, nt * nc * nz, report)
    seams: list[float] = []
    with Steps(nt * nc * nz, "planes") as steps:
        for t in range(nt):
            result = np.empty((1, *stack.data.shape[1:]), np.float32)
            for c, z in np.ndindex(nc, nz):
                image = np.array(stack.data[t, c, z], dtype=np.float32)
                where = f"{stack.channel_label(c)}, time point {t + 1}, plane {z + 1}"
                result[0, c, z] = restore_plane(image, network, plan, options, where, seams)
                steps.advance()
            yield result
    if options.verbose and seams:
        report.row(
            "seams",
            f"steps where tiles meet are {number(float(np.mean(seams)))} times those beside them "
            f"on average, {number(max(seams))} times at most, over {len(seams)} planes",
        )


def plan_of_options(
    options: PredictOptions, network: Any, extents: Sequence[int], held: int
) -> TilePlan:
    """Tiles of each plane by what was asked for, `held` bytes of memory being taken already."""
    room = allowed_for("predict", options.max_memory) - held
    return plan_plane("predict", extents, room, network, options.tile, options.overlap)


def plan_plane(
    command: str,
    extents: Sequence[int],
    allowed: int,
    network: Any,
    tile: int,
    overlap: int,
) -> TilePlan:
    """Tiles of each plane, (ny, nx); a tile of 0 is as large as memory allows.

    Raises
    ------
    UsageError  if the plane or the tile is too small, or memory does not suffice.
    """
    from otfuse.tiling import plan_tiles
    from otfuse.tiling.mrbcr_plan import MULTIPLE, SMALLEST, margin_of, plan_mrbcr

    if min(extents) < SMALLEST or 0 < tile < SMALLEST:
        chosen = f" and tiles of {tile}" if tile else ""
        raise UsageError(
            f"{command}: image and --tile must have at least {SMALLEST} pixels along y and x, got "
            f"{by_extents(tuple(extents))}{chosen}"
        )
    memory = memory_of(network)
    if tile == 0:
        try:
            return plan_mrbcr(extents, max(1, allowed), memory=memory, overlap=overlap)
        except ValueError as error:
            raise too_little(command, "the work on a plane", allowed, error) from None
    plan = plan_tiles(extents, tile, overlap, multiple=MULTIPLE, margin=margin_of(overlap))
    need = memory(next(iter(plan)).shape, plan.shape)
    if need > allowed:
        raise UsageError(
            f"{command}: memory must not exceed {in_bytes(max(0, allowed))}, got a plan of "
            f"{in_bytes(need)}; give a smaller --tile or a larger --max-memory"
        )
    return plan


def memory_of(network: Any) -> MrbcrMemory:
    """What a network takes, where it is."""
    from otfuse.tiling.mrbcr_plan import MrbcrMemory

    widths = network.options
    device = next(network.parameters()).device.type
    if not widths:
        return MrbcrMemory(None, device)
    return MrbcrMemory((widths["channels"], widths["bands"]), device)


def report_planes(
    options: PredictOptions, network: Any, plan: TilePlan, n_planes: int, report: Report
) -> None:
    """Print tiles, memory, scale and range."""
    tile = next(iter(plan)).shape
    need = memory_of(network)(tile, plan.shape)
    report.row(
        "plan",
        f"{how_many(n_planes, 'plane')} of {how_many(len(plan), 'tile')} of {by_extents(tile)}, "
        f"overlap {options.overlap} where cut, {in_bytes(need)}, normalised by "
        f"{options.normalize}, results in the {options.scale}'s range",
    )


def restore_plane(
    image: np.ndarray,
    network: Any,
    plan: TilePlan,
    options: PredictOptions,
    where: str,
    seams: list[float],
) -> np.ndarray:
    """One plane, in the range asked for; with `--verbose` adds how much its tiles show.

    The image is overwritten.
    """
    from otfuse.tiling import map_tiles, seam_size
    from otfuse.tiling.mrbcr_plan import batch_of

    if not np.isfinite(image).all():
        raise UsageError(
            f"predict: image must be finite, got NaN or infinity in {where}; replace them first"
        )
    run = _scaled(network, options)
    if options.normalize != "tile":
        low, span = _unit_of(image, options)
        _to_unit(image, low, span)
    restored = np.empty(image.shape, np.float32)
    row = 0
    for block in map_tiles(run, image, plan, batch=batch_of(next(iter(plan)).shape)):
        restored[row : row + len(block)] = block
        row += len(block)
    if options.normalize != "tile" and options.scale == "image":
        restored *= span
        restored += low
    if options.verbose and len(plan) > 1:
        seams.append(seam_size(plan, restored).ratio)
    return restored


def _unit_of(image: np.ndarray, options: PredictOptions) -> tuple[np.float32, np.float32]:
    """What becomes 0, and how far above it what becomes 1 lies."""
    ends = image.min(), image.max()
    if options.normalize == "percentile":
        ends = tuple(np.percentile(image, _PERCENTILES))
    low, high = map(np.float32, ends)
    return low, high - low


def _scaled(network: Any, options: PredictOptions) -> Callable[[np.ndarray], np.ndarray]:
    """What restores (n, ny, nx), each tile scaled on its own where that is asked for."""
    if options.normalize != "tile":
        return lambda tiles: network.restore(tiles)

    def run(tiles: np.ndarray) -> np.ndarray:
        low, high = (f(tiles, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
        _to_unit(tiles, low, high - low)
        restored = np.asarray(network.restore(tiles))
        if options.scale == "image":
            restored *= high - low
            restored += low
        return restored

    return run


def _to_unit(values: np.ndarray, low: Any, span: Any) -> None:
    """Scale values to 0 at `low` and 1 `span` above it; to 0 where that is 0."""
    values -= low
    values *= np.divide(1, span, out=np.zeros_like(span), where=span > 0)
