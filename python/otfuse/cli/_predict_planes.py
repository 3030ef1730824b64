# SPDX-License-Identifier: BSD-3-Clause
"""Restoring each plane of a stack by a network for images, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.cli._errors import UsageError
from otfuse.cli._predict_options import PredictOptions
from otfuse.cli._report import Report, by_extents, number
from otfuse.cli._steps import Steps
from otfuse.io import Stack

if TYPE_CHECKING:
    from otfuse.tiling import TilePlan

PLANE_BYTES = 64  # of a pixel of the plane at hand, scaled, cut into tiles and blended
_MULTIPLE, _SMALLEST = 4, 16
_BATCH_PIXELS = 512 * 512
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
    plan = plan_plane("predict", extents, options.tile, options.overlap)
    report_planes(options, plan, nt * nc * nz, report)
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


def plan_plane(command: str, extents: Sequence[int], tile: int, overlap: int) -> TilePlan:
    """Tiles of each plane, (ny, nx)."""
    from otfuse.tiling import plan_tiles

    if min(extents) < _SMALLEST or tile < _SMALLEST:
        raise UsageError(
            f"{command}: image and --tile must have at least {_SMALLEST} pixels along y and x, got "
            f"{by_extents(tuple(extents))} and {tile}"
        )
    return plan_tiles(extents, tile, overlap, multiple=_MULTIPLE)


def report_planes(options: PredictOptions, plan: TilePlan, n_planes: int, report: Report) -> None:
    """Print tiles, scale and range."""
    report.row(
        "plan",
        f"{n_planes} planes of {len(plan)} tiles of {by_extents(next(iter(plan)).shape)}, "
        f"overlap {options.overlap}, normalised by {options.normalize}, "
        f"results in the {options.scale}'s range",
    )


def restore_plane(
    image: np.ndarray,
    network: Any,
    plan: TilePlan,
    options: PredictOptions,
    where: str,
    seams: list[float],
) -> np.ndarray:
    """One plane, in the range asked for; with `--verbose` adds how much its tiles show."""
    from otfuse.tiling import map_tiles, seam_size

    if not np.isfinite(image).all():
        raise UsageError(
            f"predict: image must be finite, got NaN or infinity in {where}; replace them first"
        )
    run = _scaled(network, options)
    if options.normalize != "tile":
        ends = _PERCENTILES if options.normalize == "percentile" else (0.0, 100.0)
        low, high = (float(v) for v in np.percentile(image, ends))
        image, back = _to_unit(image, low, high)
    batch = max(1, _BATCH_PIXELS // options.tile**2)
    restored = np.concatenate(list(map_tiles(run, image, plan, batch=batch)))
    if options.normalize != "tile" and options.scale == "image":
        restored = back(restored)
    if options.verbose and len(plan) > 1:
        seams.append(seam_size(plan, restored).ratio)
    return restored


def _scaled(network: Any, options: PredictOptions) -> Callable[[np.ndarray], np.ndarray]:
    """What restores (n, ny, nx), each tile scaled on its own where that is asked for."""
    if options.normalize != "tile":
        return lambda tiles: network.restore(tiles)

    def run(tiles: np.ndarray) -> np.ndarray:
        low, high = (f(tiles, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
        unit, back = _to_unit(tiles, low, high)
        restored = network.restore(unit)
        return back(restored) if options.scale == "image" else restored

    return run


def _to_unit(
    values: np.ndarray, low: Any, high: Any
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Values scaled to 0 at `low` and 1 at `high` (0 where these are equal), and the way back."""
    low, span = np.float32(low), np.float32(high) - np.float32(low)
    factor = np.divide(1, span, out=np.zeros_like(span), where=span > 0)
    return (values - low) * factor, lambda restored: restored * span + low
