# SPDX-License-Identifier: BSD-3-Clause
"""What a whole job takes: one call of the engine where memory allows it, else tiles."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from otfuse import _checks
from otfuse.functional import MemoryPlan, plan_richardson_lucy, richardson_lucy
from otfuse.functional.rl_tile import RichardsonLucyTile
from otfuse.tiling.device import to_device
from otfuse.tiling.loop_plan import LoopPlan, plan_loop
from otfuse.tiling.network_plan import NetworkJob, plan_network
from otfuse.tiling.planned import NETWORKS, Extents, Plan
from otfuse.tiling.shared import count_bytes, plan_pilot

_NAME = "plan"


def plan(
    shape: Sequence[int],
    dtype: Any,
    psf: Any,
    algorithm: str = "richardson_lucy",
    device: str = "cpu",
    max_memory: int | None = None,
    *,
    n_iters: int = 30,
    boundary: str = "extended",
    acceleration: str | None = "shb",
    back_projector: str | None = None,
    tv: float = 0.0,
    mask: bool = False,
    stop: str | None = None,
    threads: int | None = None,
    rate: float | None = None,
    channels: int = 16,
    bands: int = 4,
) -> Plan:
    """What an algorithm takes for one image, whole if `max_memory` allows it, else in tiles.

    Nothing is allocated, and nothing about the machine is asked but its instruction set: a job
    that is resumed on another day gets the same tiles.

    Parameters
    ----------
    shape : sequence of int
        Spatial extents of the image.
    dtype : dtype
        Of the image; anything but float32 and float64 is converted to float32.
    psf : array, sequence of int, or None
        The PSF, or its extents where tiles are not needed; None for a network.
    algorithm : {"richardson_lucy", "rln", "mrbcr", "mrbcr_frequency"}
        Networks are `otfuse.nn.RLN` for one view and `otfuse.nn.MRBCR`, as published (whose tiles
        overlap by what it sees) or of frequency blocks (which see a whole plane); most arguments
        below do not concern them.
    device : str
        `cpu`, or `cuda` with or without a number; need not be there.
    max_memory : int, optional
        Bytes that the job may take besides the program and the image.
    n_iters, boundary, acceleration, back_projector, tv
        As in `richardson_lucy`.
    mask : bool
        Whether pixels will be left out.
    stop
        As in `richardson_lucy`; of tiles, one no larger than memory allows decides for all.
    threads : int, optional
        By default `torch.get_num_threads()`.
    rate : float, optional
        Nanoseconds per voxel of the grid and iteration, as `measure_rate` finds them, or of a
        network per voxel of its tiles; by default what an AVX-512, AVX2 or other core takes, on
        a device and for a network none.
    channels, bands : int
        Of the network of frequency blocks.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError  if an argument is unknown, or the job does not fit; the message has the numbers.

    Examples
    --------
    >>> str(otfuse.plan((64, 512, 512), "uint16", (31, 41, 41), rate=3.0))
    'grid 96 x 576 x 576, 847.6 MB, about 2.87 s for 30 iterations'
    """
    _checks.one_of(_NAME, "algorithm", algorithm, ("richardson_lucy", *NETWORKS))
    kind = str(device).partition(":")[0]
    _checks.one_of(_NAME, "device", kind, ("cpu", "cuda"))
    extents, name = tuple(int(n) for n in shape), _dtype_name(dtype)
    if algorithm in NETWORKS:
        job = NetworkJob(algorithm, str(device), threads, (channels, bands))
        return plan_network(job, extents, max_memory, rate)
    if psf is None:
        raise ValueError(f"{_NAME}: psf must be given for {algorithm}, got None")
    given = tuple(psf.shape) if hasattr(psf, "shape") else tuple(int(k) for k in psf)
    method: dict[str, Any] = {
        "acceleration": acceleration,
        "back_projector": back_projector is not None,
        "tv": tv > 0,
        "device": kind,
    }
    whole = plan_richardson_lucy(
        extents,
        given,
        boundary=boundary,
        mask=mask,
        stop=stop,
        dtype="float64" if name == "float64" else "float32",
        threads=threads,
        **method,
    )
    parts = _whole_parts(whole, extents, given, name, boundary, back_projector is not None)
    grid, tile, overlap, n_tiles, loop = whole.grid, extents, (0,) * len(extents), 1, None
    need = sum(parts.values())
    if max_memory is not None and need > max_memory:
        _checks.at_least(_NAME, "max_memory", max_memory, 1)
        _check_tileable(need, max_memory, psf, boundary, acceleration, stop)
        loop, parts = _tiled(extents, psf, max_memory, need, method, stop)
        grid, n_tiles = loop.grid, len(loop.tiles)
        tile, overlap = loop.tiles.tile, loop.tiles.overlap
    seconds = None
    if rate is not None or str(device) == "cpu":
        known = whole.seconds_per_iteration / whole.padded_voxels
        each = known if rate is None else 1e-9 * rate
        seconds = each * math.prod(grid) * n_tiles * n_iters
    return Plan(
        algorithm, str(device), extents, grid, tile, overlap, n_tiles, n_iters, parts, seconds, loop
    )


def measure_rate(
    shape: Sequence[int] = (64, 256, 256), *, n_iters: int | None = None, device: str = "cpu"
) -> float:
    """Nanoseconds per voxel of the grid and iteration, of accelerated iterations here and now.

    Parameters
    ----------
    shape : sequence of int
        Of the image that it takes to find out; by default 4 million voxels, a fifth of a second.
    n_iters : int, optional
        By default 3, on a device 30: what a call costs besides must not count there.
    device : str
    """
    ones = (np.ones(extents, np.float32) for extents in (tuple(shape), (3,) * len(shape)))
    image, psf = (to_device(device, array) for array in ones)
    n_iters = n_iters or (3 if device == "cpu" else 30)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = richardson_lucy(image, psf, n_iters, boundary="circular", acceleration="shb")
        done.flatten()[-1].item()  # which waits for the device
        times.append(time.perf_counter() - start)
    return 1e9 * min(times) / (image.numel() * n_iters)


def _tiled(
    shape: Extents,
    psf: Any,
    max_memory: int,
    need: int,
    method: dict[str, Any],
    stop: str | None,
) -> tuple[LoopPlan, dict[str, int]]:
    """The tiles of an image that does not fit, and the bytes of working through them.

    A stop adds what deciding it on one of them takes more.
    """
    held = on_device if method["device"] == "cuda" else partial(held_bytes, shape=shape)
    deciding = 0
    try:
        loop = plan_loop(shape, psf, max_bytes=max_memory, extra_bytes=held, **method)
        if stop is not None:
            pilot = plan_pilot(shape, psf, max_bytes=max_memory, stop=stop, **method)
            deciding = count_bytes((), pilot.tile, psf_shape=psf.shape, stop=stop, **method)
    except ValueError as error:
        raise ValueError(
            f"{_NAME}: max_memory must hold the work on a tile, got {max_memory} bytes for an "
            f"image that takes {need} as a whole ({error}); allow more memory"
        ) from None
    work = RichardsonLucyTile.work_bytes(loop.grid, loop.tiles.tile, **method)
    waiting = "tiles on their way" if held is on_device else "tiles read and blended"
    parts = {"iterations": work, waiting: held(loop.tiles.tile)}
    if deciding > sum(parts.values()):
        parts["stop"] = deciding - sum(parts.values())
    return loop, parts


def on_device(tile: Sequence[int]) -> int:
    """Memory of a device besides the work: the image, the next one, and the last result."""
    return 12 * math.prod(tile)


def held_bytes(tile: Sequence[int], *, shape: Sequence[int]) -> int:
    """Memory of streaming tiles, besides the work on one.

    There are the next tile and this one in float32, its weights, and rows of tiles:
    one being blended and, where there are several, the one before being written.

    Parameters
    ----------
    tile, shape : sequence of int
        Extents of a tile and of the image.
    """
    rows = 4 * tile[0] * math.prod(shape[1:])
    return 12 * math.prod(tile) + rows * (2 if tile[0] < shape[0] else 1)


def _dtype_name(dtype: Any) -> str:
    """`float32` of numpy's, torch's and spelled dtypes of real numbers."""
    name = str(getattr(dtype, "name", dtype)).removeprefix("torch.")
    kind = getattr(torch, name, None)
    if not isinstance(kind, torch.dtype) or kind.is_complex:
        raise ValueError(f"{_NAME}: dtype must be one of real numbers, got {dtype!r}")
    return name


def _whole_parts(
    whole: MemoryPlan,
    shape: Extents,
    psf_shape: Extents,
    name: str,
    boundary: str,
    unmatched: bool,
) -> dict[str, int]:
    """Bytes of one call of `richardson_lucy`, as it allocates them."""
    size = 8 if name == "float64" else 4
    image = size * math.prod(shape)
    parts = {"iterations": whole.work_bytes, "result": image}
    if whole.stop_bytes:
        parts["stop"] = whole.stop_bytes
    if boundary == "reflect":  # the result is a view of the padded one
        parts["result"] = parts["padded image"] = size * whole.padded_voxels
    if name not in ("float32", "float64"):
        parts["image as float32"] = image
    if unmatched:
        wide = [n + k - 1 for n, k in zip(shape, psf_shape, strict=True)]
        parts["start"] = size * math.prod(wide) if boundary == "extended" else image
    return parts


def _check_tileable(
    need: int,
    allowed: int,
    psf: Any,
    boundary: str,
    acceleration: str | None,
    stop: str | None,
) -> None:
    """Refuse what cannot be cut into tiles, with the numbers."""
    remedy = None
    if boundary != "extended":
        remedy = f"boundary {boundary!r} cannot be cut into tiles, 'extended' can"
    elif acceleration == "biggs":
        remedy = "acceleration 'biggs' cannot be cut into tiles, 'shb' can"
    elif stop == "gradient_consensus":
        remedy = f"stop {stop!r} cannot be cut into tiles, 'held_out' can"
    elif not hasattr(psf, "shape"):
        remedy = "give the psf itself, whose reach decides how tiles overlap"
    if remedy is not None:
        raise ValueError(
            f"{_NAME}: max_memory must hold the whole job, {need} bytes, got {allowed}; {remedy}"
        )
