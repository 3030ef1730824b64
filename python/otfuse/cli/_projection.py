# SPDX-License-Identifier: BSD-3-Clause
"""What a network would take for a file: tiles, memory, time by a rate measured here and now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from otfuse.cli._errors import UsageError
from otfuse.cli._memory import allowed_memory
from otfuse.cli._models import Model, find_model, resolve
from otfuse.cli._predict_volume import plan_volume
from otfuse.cli._report import Report, by_extents, how_many, in_bytes, in_time
from otfuse.io import Stack

if TYPE_CHECKING:
    from otfuse.tiling import TilePlan

# What the rate is measured on, by the axes of what a network restores.
_EXTENTS = {2: (4, 128, 128), 3: (64, 128, 128)}
_ROUNDS = 3


def report_projection(name: str, stack: Stack, report: Report) -> None:
    """Print time, tiles and memory of restoring a stack.

    Parameters
    ----------
    name : str
        Of a model.
    stack : Stack
    report : Report

    Raises
    ------
    UsageError  if there is no such model, or it cannot restore the stack.
    """
    model = find_model("info", name)
    voxels, parts, need = (
        _of_volumes(name, model, stack) if model.ndim == 3 else _of_planes(name, model, stack)
    )
    rate = measured_rate(model)
    report.row(
        "predict",
        f"about {in_time(voxels / rate)} with {name} for {parts}, {in_bytes(need)}, at "
        f"{rate / 1e6:.2f} million voxels a second, measured now",
    )


class _Projected(NamedTuple):
    """Voxels that are computed, what the stack is taken apart to, bytes that it takes."""

    voxels: int
    parts: str
    need: int


def _of_volumes(name: str, model: Model, stack: Stack) -> _Projected:
    extents = stack.data.shape[2:]
    if min(extents) < 2:
        raise UsageError(
            f"info: file must have at least 2 voxels along z, y and x for {name}, got "
            f"{by_extents(tuple(extents))}"
        )
    from otfuse.functional import row_strips
    from otfuse.tiling.rln_plan import rln_rows_bytes, rln_volume_bytes

    need = rln_rows_bytes(extents)
    if need <= allowed_memory(None):
        strips = prod(stack.data.shape[:2]) * len(row_strips(extents))
        parts = f"{how_many(strips, 'strip')} of rows"
        return _Projected(stack.data.size, parts, need)
    plan = plan_volume(extents, overlap=model.overlap)
    ty, tz, tx = plan.tile
    need = rln_volume_bytes(plan.tile, plan.shape)
    return _by_tiles(model, stack, plan, (tz, ty, tx), need)


def _of_planes(name: str, model: Model, stack: Stack) -> _Projected:
    from otfuse import plan

    allowed = max(1, allowed_memory(None))
    try:
        job = plan(stack.data.shape[2:], stack.data.dtype, None, name, max_memory=allowed)
    except ValueError as error:
        raise UsageError(f"info: file must be one that {name} can restore ({error})") from None
    images = prod(stack.data.shape[:2])
    n_tiles = images * job.n_tiles
    parts = _parts(n_tiles, job.tile[1:], model)
    return _Projected(n_tiles * prod(job.tile), parts, job.peak_bytes)


def _parts(n_tiles: int, tile: Sequence[int], model: Model) -> str:
    return (
        f"{how_many(n_tiles, 'tile')} of {by_extents(tuple(tile))}, overlap {model.overlap} "
        "where cut"
    )


def _by_tiles(
    model: Model, stack: Stack, plan: TilePlan, tile: Sequence[int], need: int
) -> _Projected:
    images = prod(stack.data.shape[: 5 - plan.ndim])
    parts = _parts(images * len(plan), tile, model)
    return _Projected(images * sum(prod(tile.shape) for tile in plan), parts, need)


def measured_rate(model: Model) -> float:
    """Voxels a second of a network that nobody trained, the best of three."""
    import torch

    network: Any = resolve(model.network)().eval()
    images, best = torch.rand(_EXTENTS[model.ndim]), float("inf")
    network.restore(images)
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        network.restore(images)
        best = min(best, time.perf_counter() - start)
    return images.numel() / best
