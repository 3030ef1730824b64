# SPDX-License-Identifier: BSD-3-Clause
"""Restoring each plane of a stack by a network for images, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
    from torch import Tensor

    from otfuse.tiling import Tile, TilePlan
    from otfuse.tiling.mrbcr_plan import MrbcrMemory

# Shares of pixels left below 0 and above 1 by `--normalize percentile`.
_PERCENTILES = (0.1, 99.9)
Place = tuple[int, ...]  # channel and number of a plane


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
    from otfuse.tiling import seam_size

    nt, nc, nz, *extents = stack.data.shape
    result_bytes = 4 * nc * nz * prod(extents)
    plan = plan_of_options(options, network, extents, result_bytes)
    report_planes(options, network, plan, nt * nc * nz, report)
    restorer = PlanesTile(network, options, plan)
    seams: list[float] = []
    with Steps(nt * nc * nz, "planes") as steps:
        for t in range(nt):
            result = np.empty((1, *stack.data.shape[1:]), np.float32)

            def write(place: Place, restored: np.ndarray, into: np.ndarray = result[0]) -> None:
                into[place] = restored
                if options.verbose and len(plan) > 1:
                    seams.append(seam_size(plan, restored).ratio)
                steps.advance()

            _restore_planes(restorer, stack, t, write)
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
    from otfuse.tiling import pinned_bytes

    room = allowed_for("predict", options.max_memory) - held
    if options.compute.on_gpu:
        waiting = 4 * prod(extents) + 4 * pinned_bytes(extents)  # one is read, two go either way
        if waiting > room:
            raise too_little("predict", "the planes on their way", room)
        room = options.compute.free
    return plan_plane(options, network, extents, room)


def plan_plane(
    options: PredictOptions, network: Any, extents: Sequence[int], allowed: int
) -> TilePlan:
    """Tiles of each plane, (ny, nx); a tile of 0 is as large as memory allows.

    Parameters
    ----------
    options : PredictOptions
    network : MRBCR
    extents : (ny, nx)
    allowed : int
        Bytes of the memory of whatever computes.

    Raises
    ------
    UsageError  if the plane or the tile is too small, or memory does not suffice.
    """
    from otfuse.tiling import plan_tiles
    from otfuse.tiling.mrbcr_plan import MULTIPLE, SMALLEST, margin_of, plan_mrbcr

    tile, overlap = options.tile, options.overlap
    if min(extents) < SMALLEST or 0 < tile < SMALLEST:
        chosen = f" and tiles of {tile}" if tile else ""
        raise UsageError(
            f"predict: image and --tile must have at least {SMALLEST} pixels along y and x, got "
            f"{by_extents(tuple(extents))}{chosen}"
        )
    memory, on_gpu = memory_of(network, options.compute.kind), options.compute.on_gpu
    if tile == 0:
        try:
            return plan_mrbcr(extents, max(1, allowed), memory=memory, overlap=overlap)
        except ValueError as error:
            if on_gpu:
                raise UsageError(
                    f"predict: memory of the GPU must hold the work on a plane, got "
                    f"{in_bytes(allowed)} of it ({error}); give --device cpu"
                ) from None
            raise too_little("predict", "the work on a plane", allowed, error) from None
    plan = plan_tiles(extents, tile, overlap, multiple=MULTIPLE, margin=margin_of(overlap))
    need = memory(next(iter(plan)).shape, plan.shape)
    if need > allowed:
        where, remedy = (" on the GPU", "--device cpu") if on_gpu else ("", "a larger --max-memory")
        raise UsageError(
            f"predict: memory must not exceed {in_bytes(max(0, allowed))}{where}, got a plan of "
            f"{in_bytes(need)}; give a smaller --tile or {remedy}"
        )
    return plan


def memory_of(network: Any, device: str = "cpu") -> MrbcrMemory:
    """What a network takes on a kind of device."""
    from otfuse.tiling.mrbcr_plan import MrbcrMemory

    widths = network.options
    if not widths:
        return MrbcrMemory(None, device)
    return MrbcrMemory((widths["channels"], widths["bands"]), device)


def report_planes(
    options: PredictOptions, network: Any, plan: TilePlan, n_planes: int, report: Report
) -> None:
    """Print tiles, memory, scale and range."""
    tile = next(iter(plan)).shape
    need = memory_of(network, options.compute.kind)(tile, plan.shape)
    report.row(
        "plan",
        f"{how_many(n_planes, 'plane')} of {how_many(len(plan), 'tile')} of {by_extents(tile)}, "
        f"overlap {options.overlap} where cut, {in_bytes(need)}, normalised by "
        f"{options.normalize}, results in the {options.scale}'s range",
    )


@dataclass(frozen=True)
class PlanesTile:
    """Restores each plane of a tile, which holds whole ones.

    Attributes
    ----------
    network : Module
    options : PredictOptions
    plan : TilePlan
        Of a plane.
    """

    network: Any
    options: PredictOptions
    plan: TilePlan

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.options.compute.device

    def __call__(self, tile: Tile, counts: np.ndarray) -> np.ndarray:
        """The restored tile, float32; `counts` are float32, and overwritten."""
        import torch

        arrays = [torch.from_numpy(array) for array in self.prepare(tile, counts)]
        return self.finish(self.compute(tile, arrays).numpy())

    def prepare(self, tile: Tile, counts: np.ndarray) -> list[np.ndarray]:
        """The planes on the network's scale, and what was 0 and how far above it 1.

        Raises
        ------
        ValueError  if a value is not finite.
        """
        return self.scaled(counts, [f"plane {tile.start[0] + z + 1}" for z in range(len(counts))])

    def scaled(self, planes: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
        """The same of planes that have names."""
        ends = np.zeros((len(planes), 2), np.float32)
        for plane, end, name in zip(planes, ends, names, strict=True):
            if not np.isfinite(plane).all():
                raise ValueError(
                    f"predict: image must be finite, got NaN or infinity in {name}; replace them "
                    "first"
                )
            if self.options.normalize != "tile":
                end[:] = _unit_of(plane, self.options)
                _to_unit(plane, *end)
        return [planes, ends]

    def compute(self, tile: Tile | None, arrays: Sequence[Tensor]) -> Tensor:
        """The restored planes, in the range asked for, where they are."""
        from otfuse.jobs import map_arrays
        from otfuse.tiling import map_tiles
        from otfuse.tiling.mrbcr_plan import batch_of

        planes, ends = arrays
        run = _scaled(self.network.to(self.device), self.options)
        extents = next(iter(self.plan)).shape
        if self.network.options:  # frequency blocks, whose features come and go in many extents
            map_arrays(4 * prod(extents))
        result, batch = planes.new_empty(planes.shape), batch_of(extents)
        for plane, restored, (low, span) in zip(planes, result, ends, strict=True):
            row = 0
            for block in map_tiles(run, plane, self.plan, batch=batch):
                restored[row : row + len(block)] = block
                row += len(block)
            if self.options.normalize != "tile" and self.options.scale == "image":
                restored *= span
                restored += low
        return result

    def finish(self, result: np.ndarray) -> np.ndarray:
        """The restored tile."""
        return result


def _restore_planes(
    restorer: PlanesTile, stack: Stack, t: int, write: Callable[[Place, np.ndarray], None]
) -> None:
    """Restore each plane of a time point; `write` takes its channel and number, and the plane.

    While one is computed on a GPU, the next one is on its way there and the last one back.
    """
    from otfuse.tiling import carrier_to, in_turns

    carrier = carrier_to(restorer.device)

    def read(place: Place) -> Any:
        c, z = place
        name = f"{stack.channel_label(c)}, time point {t + 1}, plane {z + 1}"
        image = np.array(stack.data[t, c, z], dtype=np.float32)[None]
        return carrier.send(*restorer.scaled(image, [name]))

    def compute(place: Place, sent: Any) -> tuple[Place, Any]:
        return place, carrier.give(restorer.compute(None, carrier.take(sent)))

    def finish(made: tuple[Place, Any]) -> None:
        write(made[0], carrier.fetch(made[1])[0])

    places = np.ndindex(stack.data.shape[1:3])
    if restorer.options.compute.on_gpu:
        in_turns(places, read, compute, finish)
        return
    for place in places:  # the network takes all processors, and the next plane would take memory
        finish(compute(place, read(place)))


def _unit_of(image: np.ndarray, options: PredictOptions) -> tuple[np.float32, np.float32]:
    """What becomes 0, and how far above it what becomes 1 lies."""
    ends = image.min(), image.max()
    if options.normalize == "percentile":
        ends = tuple(np.percentile(image, _PERCENTILES))
    low, high = map(np.float32, ends)
    return low, high - low


def _scaled(network: Any, options: PredictOptions) -> Callable[[Tensor], Tensor]:
    """What restores (n, ny, nx), each tile scaled on its own where that is asked for."""
    import torch

    if options.normalize != "tile":
        restore: Callable[[Tensor], Tensor] = network.restore
        return restore

    def run(tiles: Tensor) -> Tensor:
        low, high = tiles.amin((1, 2), keepdim=True), tiles.amax((1, 2), keepdim=True)
        span = high - low
        restored: Tensor = network.restore((tiles - low) * torch.where(span > 0, 1 / span, 0))
        return restored * span + low if options.scale == "image" else restored

    return run


def _to_unit(values: np.ndarray, low: Any, span: Any) -> None:
    """Scale values to 0 at `low` and 1 `span` above it; to 0 where that is 0."""
    values -= low
    values *= np.divide(1, span, out=np.zeros_like(span), where=span > 0)
