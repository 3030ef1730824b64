# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse predict` into an OME-Zarr: by tiles, resumed where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.cli._errors import UsageError
from otfuse.cli._memory import allowed_for
from otfuse.cli._options import as_typed
from otfuse.cli._predict_options import PredictOptions
from otfuse.cli._predict_planes import PlanesTile, plan_plane, report_planes
from otfuse.cli._predict_volume import check_network, check_views, gpu_of, plan_volume
from otfuse.cli._report import Report, by_extents, how_many, in_time
from otfuse.cli._steps import Steps
from otfuse.cli._volume_bytes import CHUNK, packing_bytes, unpacking_bytes
from otfuse.cli._volume_place import (
    counted,
    find_job,
    place_of,
    report_outcome,
    store_result,
)
from otfuse.cli._volume_settle import COMPRESSION
from otfuse.io import Volume, create_volume, open_volume, streamed_percentiles

if TYPE_CHECKING:
    from torch import Tensor

    from otfuse.jobs import Ledger
    from otfuse.tiling import Tile, TilePlan

# What the result does not depend on, or what is told by other means.
_NOT_PARAMETERS = (
    "image", "output", "weights", "device", "threads", "max_memory", "overwrite",
    "verbose", "local_cluster", "scheduler",
)  # fmt: skip


# Bytes for a voxel of a tile of whole planes: counts of it and of the next, the result of it and of
# the last; beside a GPU, which holds as much, counts and buffers of two, those at most doubled.
_HELD, _HELD_BESIDE_GPU = 16, 40


@dataclass(frozen=True)
class NetworkTile:
    """Restores tiles of one image of a volume, whose scale they share."""

    network: Any
    place: tuple[int, int]  # time point and channel
    scales: tuple[tuple[float, float], ...]  # offset and span of each view
    back: bool  # to the first view's range
    others: tuple[Volume, ...]  # views after the first
    device: str = "cpu"  # where it computes

    def __call__(self, tile: Tile, counts: np.ndarray) -> np.ndarray:
        """The restored tile, float32; `counts` are float32, and overwritten."""
        import torch

        views = [torch.from_numpy(view) for view in self.prepare(tile, counts)]
        return self.finish(self.compute(tile, views).numpy())

    def prepare(self, tile: Tile, counts: np.ndarray) -> list[np.ndarray]:
        """All views on the network's scale."""
        from otfuse.nn.rln_scale import IntensityScale

        where = (*self.place, *tile.slices)
        views = [counts, *(other.read_float32(where) for other in self.others)]
        for view, scale in zip(views, self.scales, strict=True):
            IntensityScale(*scale).to_network(view, out=view)
        return views

    def compute(self, tile: Tile, arrays: Sequence[Tensor]) -> Tensor:
        """What the network makes of them, where they are."""
        result: Tensor = self.network.to(self.device).restore(*arrays)
        return result

    def finish(self, result: np.ndarray) -> np.ndarray:
        """The restored tile."""
        from otfuse.nn.rln_scale import IntensityScale

        if self.back:
            IntensityScale(*self.scales[0]).to_image(result)
        return result


def predict_zarr(options: PredictOptions) -> None:
    """Begin or resume, restore what is missing, finish.

    Parameters
    ----------
    options : PredictOptions
        Checked.
    """
    from otfuse.cli.deconvolve import report_image
    from otfuse.cli.predict import load_network, make_record
    from otfuse.jobs import Job, job_folder, only_run, reopen, run_job, share_heap

    started, report = time.monotonic(), Report()
    _check(options)
    share_heap()
    source = open_volume(options.image, axes=options.axes)
    report_image(source, report)
    network = load_network(options, report)
    views = [source]
    if options.model == "rln":
        check_network(options, network, source.shape[2:])
        views = _views(options, source)
    record = make_record(options, source)
    typed = as_typed(options, _NOT_PARAMETERS)
    parameters = {**record["parameters"], "options": typed}
    with only_run(options.output) as lock:
        work, ledger = find_job(options)
        if ledger is None:
            ledger = _begin(options, work, network, views, parameters)
        else:
            ledger.check(parameters)
            report.row("resumed", f"{len(ledger.done)} blocks are written")
        target = reopen(work, ledger)
        if target is None:
            report.row("tiles", "complete already, nothing was left to do")
        else:
            plan = _restored_plan(ledger, "plan")
            report.row(
                "plan", f"{how_many(len(plan), 'tile')} of {by_extents(plan.tile)} (z, y, x)"
            )
            restorers = _restorers(options, network, views, ledger, report)
            job = Job(source, target, job_folder(work) / "scratch", plan, restorers)
            with place_of(options, job, report) as place, Steps(len(job.tiles()), "tiles") as steps:
                outcome = run_job(job, ledger, lock, place, counted(steps), record)
            report_outcome(outcome, options.output, report, "predict")
        store_result(options, work, source, record, report)
    report.row("time", in_time(time.monotonic() - started))


def _check(options: PredictOptions) -> None:
    if options.stitch != "linear":
        raise UsageError(f"predict: --stitch must be linear for an OME-Zarr, got {options.stitch}")


def _restorers(
    options: PredictOptions, network: Any, views: list[Volume], ledger: Ledger, report: Report
) -> tuple[NetworkTile | PlanesTile, ...]:
    """What restores the tiles of each image."""
    source, others = views[0], tuple(views[1:])
    if options.model == "rln":
        back, images = options.scale == "image", np.ndindex(source.shape[:2])
        return tuple(
            NetworkTile(
                network, (t, c), tuple(map(tuple, scales)), back, others, options.compute.device
            )
            for (t, c), scales in zip(images, ledger.settled["scales"], strict=True)
        )
    nt, nc, nz = source.shape[:3]
    plan = _restored_plan(ledger, "plane")
    report_planes(options, network, plan, nt * nc * nz, report)
    return (PlanesTile(network, options, plan),) * (nt * nc)


def _begin(
    options: PredictOptions,
    work: Path,
    network: Any,
    views: list[Volume],
    parameters: dict[str, Any],
) -> Ledger:
    """Choose tiles and find the scale of each image, once for all runs."""
    from otfuse.jobs import begin

    source = views[0]
    if options.model == "rln":
        plan = _plan_of_rln(options, source, len(views))
        settled = {"plan": asdict(plan), "scales": _scales_of_rln(views)}
    else:
        plan, plane = _slabs(options, network, source)
        settled = {"plan": asdict(plan), "plane": asdict(plane)}
    return begin(
        work,
        lambda path: create_volume(
            path,
            source.shape,
            np.float32,
            like=source,
            chunks=CHUNK,
            compression=options.compression or COMPRESSION,
        ),
        parameters,
        settled,
    )


def _views(options: PredictOptions, source: Volume) -> list[Volume]:
    """The image and, for a network of two, its other view."""
    if options.second_view is None:
        return [source]
    views = [source, open_volume(options.second_view, axes=options.axes)]
    check_views(views)
    return views


def _plan_of_rln(options: PredictOptions, source: Volume, n_views: int) -> TilePlan:
    return _in_zyx(
        plan_volume(
            source.shape[2:],
            tile=options.tile,
            overlap=options.overlap,
            max_memory=options.max_memory,
            workers=options.local_cluster,
            gpu=gpu_of(options.compute),
            bytes_of=partial(
                _job_bytes, source=source, views=n_views, on_gpu=options.compute.on_gpu
            ),
        )
    )


def _job_bytes(tile: Sequence[int], source: Volume, views: int, on_gpu: bool) -> int:
    """Memory of RLN on tiles (y, z, x): counts, their stack and result, and those of another.

    A GPU takes the network; then counts and results of both are on their way to it and back.
    """
    from otfuse.functional import rln_bytes
    from otfuse.jobs.run import THREADS
    from otfuse.tiling import pinned_bytes

    ty, tz, tx = tile
    chunks = unpacking_bytes(source, (tz, ty, tx)) + packing_bytes(source)
    if on_gpu:
        each = 4 * views * ty * tz * tx + (views + 1) * pinned_bytes(tile)
        return THREADS * each + chunks
    return (12 * views + 4) * ty * tz * tx + chunks + rln_bytes((tz, ty, tx), views)


def _scales_of_rln(views: list[Volume]) -> list[list[list[float]]]:
    """Offset and span of each view of each image, from what can be read of it."""
    from otfuse.jobs.survey import Planes
    from otfuse.nn.rln_scale import PERCENTS, IntensityScale

    def scale_of(view: Volume, t: int, c: int) -> list[float]:
        low, high = streamed_percentiles(Planes(view, t, c), PERCENTS)
        scale = IntensityScale.from_percentiles(low, high)
        return [scale.offset, scale.span]

    images = np.ndindex(views[0].shape[:2])
    return [[scale_of(view, t, c) for view in views] for t, c in images]


def _slabs(options: PredictOptions, network: Any, source: Volume) -> tuple[TilePlan, TilePlan]:
    """Tiles of whole planes, as many as half of the memory holds and as fill a chunk of the result;
    and the tiles of a plane, which have what is left."""
    from otfuse.tiling import plan_tiles

    nz, ny, nx = source.shape[2:]
    room = allowed_for("predict", options.max_memory, options.local_cluster)
    depth = CHUNK[2]
    held, most = _HELD, room
    if options.compute.on_gpu:
        held, most, room = _HELD_BESIDE_GPU, min(room, options.compute.free), options.compute.free
    while depth > 1 and held * depth * ny * nx > most // 2:
        depth //= 2
    plane = plan_plane(options, network, (ny, nx), room - _HELD * depth * ny * nx)
    return plan_tiles((nz, ny, nx), (min(depth, nz), ny, nx), 0), plane


def _in_zyx(plan: TilePlan) -> TilePlan:
    """A plan over (y, z, x) with its axes in the volume's order."""

    def moved(line: tuple[Any, ...]) -> tuple[Any, ...]:
        y, z, x = line
        return z, y, x

    return replace(plan, **{name: moved(line) for name, line in vars(plan).items()})


def _restored_plan(ledger: Ledger, name: str) -> TilePlan:
    from otfuse.tiling import TilePlan

    kept = ledger.settled[name]
    fields: dict[str, Any] = {
        name: tuple(kept[name]) for name in ("shape", "tile", "overlap", "margin")
    }
    for name in ("starts", "stops"):
        fields[name] = tuple(map(tuple, kept[name]))
    return TilePlan(**fields)
