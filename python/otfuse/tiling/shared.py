# SPDX-License-Identifier: BSD-3-Clause
"""What all tiles of an image have to agree on, found before any is restored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch

from otfuse.functional import plan_richardson_lucy, richardson_lucy
from otfuse.functional._arrays import to_tensor
from otfuse.tiling.device import to_device
from otfuse.tiling.loop_plan import plan_loop
from otfuse.tiling.plan import Tile, TilePlan

Read = Callable[[Tile], np.ndarray]


def observed_mean(
    read: Read, plan: TilePlan, saturation: float | None = None
) -> tuple[float, Tile]:
    """Mean of an image over the voxels that count, and the tile with the most light.

    Parameters
    ----------
    read : callable
        Gives the counts of a tile.
    plan : TilePlan
    saturation : float, optional
        Voxels at or above it do not count; negative ones count as 0.
    """
    total, count = 0.0, 0
    brightest, most = next(iter(plan)), -1.0
    for tile in plan:
        counts = np.asarray(read(tile))
        light = float(np.sum(counts, dtype=np.float64))
        if light > most:
            brightest, most = tile, light
        # Each voxel once: up to where the next tile along each axis begins.
        own = counts[tuple(_own(plan, axis, i) for axis, i in enumerate(tile.index))]
        kept = np.full(own.shape, True) if saturation is None else own < saturation
        total += float(np.sum(own, dtype=np.float64, where=kept & (own > 0)))
        count += int(np.count_nonzero(kept))
    return total / max(count, 1), brightest


def _own(plan: TilePlan, axis: int, i: int) -> slice:
    starts = plan.starts[axis]
    return slice(0, starts[i + 1] - starts[i] if i + 1 < len(starts) else None)


def count_bytes(
    box: Sequence[int], tile: Sequence[int], *, psf_shape: Sequence[int], **settings: Any
) -> int:
    """Memory of `count_iterations` on a tile: its counts and their light, result and stop.

    Parameters
    ----------
    box, tile : sequence of int
        Extents of a tile's box, which does not matter here, and of the tile.
    psf_shape : sequence of int
    **settings
        Further arguments of `otfuse.plan_richardson_lucy`.
    """
    whole = plan_richardson_lucy(tile, psf_shape, **settings)
    return whole.work_bytes + whole.stop_bytes + 12 * prod(tile)


def plan_pilot(
    shape: Sequence[int], psf: Any, *, max_bytes: int, stop: str, **method: Any
) -> TilePlan:
    """Tiles on one of which `count_iterations` fits into memory.

    Parameters
    ----------
    shape, psf, max_bytes
        As for `plan_loop`.
    stop : str
    **method
        `acceleration`, `back_projector`, `tv` and `device`, as for `plan_loop`.

    Raises
    ------
    ValueError  if no tile fits.
    """
    work = partial(count_bytes, psf_shape=tuple(psf.shape), stop=stop, **method)
    return plan_loop(shape, psf, max_bytes=max_bytes, work_bytes=work, **method).tiles


def tile_around(plan: TilePlan, place: Sequence[int]) -> Tile:
    """A tile that holds a voxel of the whole."""
    return next(
        tile
        for tile in plan
        if all(a <= m < b for a, m, b in zip(tile.start, place, tile.stop, strict=True))
    )


def count_iterations(
    counts: np.ndarray,
    psf: Any,
    n_iters: int,
    *,
    stop: str,
    saturation: float | None = None,
    device: str = "cpu",
    **settings: Any,
) -> int:
    """After how many iterations a tile's run ends, for all others to do as many.

    Parameters
    ----------
    counts : ndarray
        Of the brightest tile.
    psf : array
    n_iters : int
        At most.
    stop : {"idiv", "held_out"}
    saturation : float, optional
        Voxels at or above it are left out.
    device : str
        Where it runs.
    **settings
        Further arguments of `otfuse.richardson_lucy`.
    """
    done = n_iters

    def look(i: int, _: Any) -> None:
        nonlocal done
        done = i

    image = to_device(device, np.maximum(counts, 0).astype(np.float32))
    kernel = to_tensor("count_iterations", "psf", psf).to(image.device)
    mask = None if saturation is None else image < saturation
    richardson_lucy(image, kernel, n_iters, mask=mask, stop=stop, callback=look, **settings)
    if image.is_cuda:
        torch.cuda.empty_cache()  # what tiles take comes in other sizes
    return done
