# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy deconvolution of images whose work does not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from otfuse import _checks
from otfuse.functional._arrays import to_tensor
from otfuse.functional.rl_tile import RichardsonLucyTile
from otfuse.tiling.device import shuttle_to, stream_through
from otfuse.tiling.job_plan import held_bytes, on_device
from otfuse.tiling.loop_plan import LoopPlan, plan_loop
from otfuse.tiling.plan import Tile
from otfuse.tiling.shared import count_iterations, observed_mean, plan_pilot, tile_around
from otfuse.tiling.stream import stream_tiles

_NAME = "tiling.richardson_lucy"


@dataclass(frozen=True)
class TiledLoop:
    """Restores any tile of an image; made once, sent to whoever works on it.

    Attributes
    ----------
    plan : LoopPlan
    loop : RichardsonLucyTile
        With the plan's grid.
    saturation : float, optional
        Voxels at or above it are left out.
    dark : float
        Counts without light, taken off first; the loop's mean and background are without it.
    device : str
        Where it computes.
    """

    plan: LoopPlan
    loop: RichardsonLucyTile
    saturation: float | None = None
    dark: float = 0.0
    device: str = "cpu"

    def __call__(self, tile: Tile, counts: np.ndarray) -> np.ndarray:
        """The restored tile, float32.

        Parameters
        ----------
        tile : Tile
            Of the plan.
        counts : ndarray, shape tile.shape
            Negative values count as 0. Overwritten if they are float32.

        Raises
        ------
        ValueError  if a value is not finite.
        """
        (image,) = self.prepare(tile, counts)
        return self.finish(self.compute(tile, [torch.from_numpy(image)]).cpu().numpy())

    def prepare(self, tile: Tile, counts: np.ndarray) -> list[np.ndarray]:
        """Light alone, hidden voxels negative."""
        image = torch.from_numpy(np.asarray(counts, np.float32, order="C"))
        low, high = map(float, image.aminmax())
        if not math.isfinite(low) or not math.isfinite(high):
            _checks.finite_values(_NAME, "image", image)
        limit = self.saturation
        hidden = image >= limit if limit is not None and high >= limit else None
        if self.dark != 0:
            image.sub_(self.dark)
        if low < self.dark:
            image.clamp_(min=0)
        if hidden is not None:
            image.masked_fill_(hidden, -1)
        return [image.numpy()]

    def compute(self, tile: Tile, arrays: Sequence[torch.Tensor]) -> torch.Tensor:
        """The restored tile, where the image is."""
        hidden = None if self.device == "cpu" else self.saturation is not None
        return self.loop(arrays[0], *self.plan.estimate_window(tile), hidden)

    def finish(self, result: np.ndarray) -> np.ndarray:
        """The restored tile."""
        return result


def richardson_lucy(
    image: Any,
    psf: Any,
    n_iters: int = 30,
    *,
    background: float = 0.0,
    acceleration: str | None = None,
    back_projector: str | None = None,
    tv: float = 0.0,
    voxel: Sequence[float] | None = None,
    saturation: float | None = None,
    stop: str | None = None,
    gain: float | None = None,
    offset: float | None = None,
    max_bytes: int | None = None,
    grid: Sequence[int] | None = None,
    out: Any = None,
    device: str = "cpu",
) -> Any:
    """`otfuse.richardson_lucy` with extended boundaries, tile by tile.

    Tiles share what lies within the PSF's reach; start, floor, background and number of iterations
    are those of the whole image, and results fade into each other. They differ from the untiled
    ones by less than 1e-3 of the maximum. While one tile is computed, the next is read and the
    last is written.

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx) or (ny, nx) with a psf of two axes
        Observed counts, background included; a mapped file or anything else that slicing makes an
        array of. Negative values count as 0.
    psf : array, shape (kz, ky, kx) or (ky, kx)
        As for `otfuse.richardson_lucy`. Along an axis on which its light does not decay, as along
        z in widefield, there is no cut.
    n_iters, background, back_projector, tv, voxel
        As for `otfuse.richardson_lucy`; a number and a name, not arrays.
    acceleration : {None, "shb"}
        "biggs" takes its step from the whole image, which is never there.
    saturation : float, optional
        Voxels at or above it are left out.
    stop : {None, "idiv", "held_out"}, gain, offset
        Decided on the brightest tile for all of them, or what memory allows of it; the offset is
        taken off every tile, and off the background.
    max_bytes : int, optional
        Memory that working through the tiles may take; without it and `grid` there is one tile.
    grid : sequence of int, optional
        Extents of the tiles' boxes, instead.
    out : array, optional
        Of the image's shape; where the result is written to, by slices.
    device : str
        Where tiles are computed: `cpu`, or `cuda` with or without a number, whose memory
        `max_bytes` then is.

    Returns
    -------
    ndarray, float32, shape of `image`; or `out`.

    Raises
    ------
    ValueError
        As `otfuse.richardson_lucy`; if no tile fits into memory, or the grid is too small.
    """
    kernel = to_tensor(_NAME, "psf", psf)
    ndim = kernel.ndim
    kind = device.partition(":")[0]
    _checks.one_of(_NAME, "device", kind, ("cpu", "cuda"))
    _checks.one_of(_NAME, "stop", stop, (None, "idiv", "held_out"))
    _checks.at_least(_NAME, "n_iters", n_iters, 1)
    shape = _shape_of(image, ndim)
    if out is not None and tuple(out.shape) != shape:
        raise ValueError(f"{_NAME}: out must have the image's shape {shape}, got {out.shape}")
    method: dict[str, Any] = {
        "acceleration": acceleration,
        "back_projector": back_projector is not None,
        "tv": tv > 0,
        "device": kind,
    }
    pilot = None
    if stop is not None and max_bytes is not None:
        pilot = plan_pilot(shape[-ndim:], kernel, max_bytes=max_bytes, stop=stop, **method)
    plan = plan_loop(
        shape[-ndim:],
        kernel,
        n_iters,
        max_bytes=max_bytes,
        grid=grid,
        **method,
        extra_bytes=on_device if kind == "cuda" else partial(held_bytes, shape=shape[-ndim:]),
    )
    result = np.empty(shape, np.float32) if out is None else out
    dark = 0.0 if offset is None else float(offset)
    saturation = None if saturation is None else saturation - dark
    settings: dict[str, Any] = {
        "background": max(background - dark, 0.0) if dark else background,
        "acceleration": acceleration,
        "back_projector": back_projector,
        "tv": tv,
        "voxel": voxel,
    }
    for index in np.ndindex(shape[:-ndim]):

        def read(tile: Tile, index: tuple[int, ...] = index) -> np.ndarray:
            counts = np.array(image[(*index, *tile.slices)], np.float32, order="C")
            if dark:
                np.maximum(np.subtract(counts, dark, out=counts), 0, out=counts)
            return counts

        mean, brightest = observed_mean(read, plan.tiles, saturation)
        count = n_iters
        if stop is not None:
            zero = None if offset is None else 0.0  # it is off already
            known: dict[str, Any] = {
                "stop": stop,
                "gain": gain,
                "offset": zero,
                "saturation": saturation,
                "device": device,
            }
            if pilot is not None:
                ends = zip(brightest.start, brightest.stop, strict=True)
                brightest = tile_around(pilot, [(a + b) // 2 for a, b in ends])
            count = count_iterations(read(brightest), kernel, n_iters, **known, **settings)
        loop = RichardsonLucyTile(kernel, plan.grid, n_iters=count, mean=mean, **settings)
        write = partial(_write_rows, result, index)
        restore_image(TiledLoop(plan, loop, saturation, device=device), read, write)
    return result


def _shape_of(image: Any, ndim: int) -> tuple[int, ...]:
    if not hasattr(image, "shape"):
        raise TypeError(f"{_NAME}: image must be an array, got {type(image).__name__}")
    if len(image.shape) < ndim:
        raise ValueError(
            f"{_NAME}: image must have at least the {ndim} axes of the psf, got {image.shape}"
        )
    return tuple(image.shape)


def restore_image(
    restore: TiledLoop,
    read: Callable[[Tile], np.ndarray],
    write: Callable[[int, np.ndarray], None],
    told: Callable[[], None] = lambda: None,
) -> None:
    """Restore one image, the next tile being read and the last rows written meanwhile.

    Parameters
    ----------
    restore : TiledLoop
    read : callable
        Gives the counts of a tile.
    write : callable
        Takes the first row of a block along the first axis, and the block.
    told : callable
        Called after each tile.
    """

    shuttle = shuttle_to(restore.device)
    if shuttle is not None:
        stream_through(shuttle, restore, restore.plan.tiles, read, write, told, window="smooth")
        return

    def compute(ahead: tuple[Tile, np.ndarray]) -> np.ndarray:
        result = restore(*ahead)
        told()
        return result

    stream_tiles(
        restore.plan.tiles,
        lambda tile: (tile, read(tile)),
        compute,
        write,
        window="smooth",
    )


def _write_rows(out: Any, index: tuple[int, ...], row: int, block: np.ndarray) -> None:
    out[(*index, slice(row, row + len(block)))] = block
