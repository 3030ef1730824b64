# SPDX-License-Identifier: BSD-3-Clause
"""Restoring volumes by RLN: by rows, or by tiles that fit into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from otfuse.cli._device import Compute
from otfuse.cli._errors import UsageError
from otfuse.cli._memory import allowed_for, too_little
from otfuse.cli._models import MODELS
from otfuse.cli._predict_options import PredictOptions
from otfuse.cli._predict_rows import work_by_rows
from otfuse.cli._predict_work import Work, WriteRows
from otfuse.cli._report import Report, by_extents, how_many, in_bytes, number
from otfuse.cli._steps import Steps
from otfuse.io import RowFile, Stack, read_stack, release_pages, write_rows

if TYPE_CHECKING:
    from otfuse.tiling import TilePlan

_PLAIN = 400  # bytes for a voxel of a tile on a GPU that otfuse has no kernels for


class Gpu(NamedTuple):
    """What a plan may take of a GPU's memory, and what a voxel takes."""

    free: int
    per_voxel: int

    def need(self, tile: Sequence[int]) -> int:
        """Bytes for a tile."""
        return self.per_voxel * int(np.prod(tile))


def predict_volumes(
    options: PredictOptions, network: Any, stack: Stack, report: Report
) -> Iterator[np.ndarray]:
    """Restored time points, (1, nc, nz, ny, nx) each; mapped from a file beside the output.

    Parameters
    ----------
    options : PredictOptions
    network : RLN
    stack : Stack
    report : Report
        Told the plan, and with `--verbose` how much tiles show.
    """
    with (
        tempfile.TemporaryDirectory(dir=options.output.parent) as folder,
        write_rows(Path(folder) / "float.ome.tif", stack.data.shape) as file,
    ):
        predict_into(options, network, stack, report, file)
        yield from (volumes[None] for volumes in file.mapped())


def predict_into(
    options: PredictOptions, network: Any, stack: Stack, report: Report, file: RowFile
) -> None:
    """Restore a stack straight into a file.

    Parameters
    ----------
    options : PredictOptions
    network : RLN
    stack : Stack
    report : Report
    file : RowFile
        Of the stack's extents.
    """
    nt, nc, *extents = stack.data.shape
    check_network(options, network, extents)
    stacks = [stack]
    if options.second_view is not None:
        stacks.append(read_stack(options.second_view, axes=options.axes, mmap=True))
    check_views(stacks)
    choose = _published if options.stitch == "published" else _linear
    work = choose(options, network, extents, report)
    with Steps(nt * nc * work.n_steps, work.steps) as steps:
        for t, c in np.ndindex(nt, nc):
            work.restore([view.data[t, c] for view in stacks], partial(file.write, t, c), steps)
            if options.verbose and work.plan is not None and len(work.plan) > 1:
                _report_seams(work.plan, file.mapped()[t, c], report)


def check_network(options: PredictOptions, network: Any, extents: Sequence[int]) -> None:
    """Refuse a network of more or fewer views than there are, and images that are no volumes."""
    given = 1 if options.second_view is None else 2
    if network.views != given:
        remedy = "leave --second-view away" if given == 2 else "give the other with --second-view"
        raise UsageError(
            f"predict: --weights must be those of a network of {how_many(given, 'view')}, got one "
            f"of {network.views}; {remedy}"
        )
    if min(extents) < 2:
        raise UsageError(
            "predict: image must have at least 2 voxels along z, y and x for rln, got "
            f"{by_extents(tuple(extents))}; give --axes if time points or channels are planes"
        )


def check_views(stacks: Sequence[Stack]) -> None:
    """Refuse views that do not lie on one another."""
    first, *others = (stack.data.shape for stack in stacks)
    for shape in others:
        if shape != first:
            raise UsageError(
                f"predict: --second-view must have the image's extents {by_extents(first)}, got "
                f"{by_extents(shape)}; register and crop it first"
            )


def _linear(options: PredictOptions, network: Any, extents: Sequence[int], report: Report) -> Work:
    """By rows on the CPU where memory holds what they take, and no tile is asked for."""
    from otfuse.tiling.rln_plan import rln_rows_bytes

    if options.tile == 0 and not options.compute.on_gpu:
        need = rln_rows_bytes(extents, network.views, network.inner_views)
        if need <= allowed_for("predict", options.max_memory):
            return work_by_rows(options, network, extents, report, need)
    return _tiled(options, network, extents, report)


def _tiled(options: PredictOptions, network: Any, extents: Sequence[int], report: Report) -> Work:
    from otfuse.cli._predict_device import RowTiles
    from otfuse.nn.rln_scale import IntensityScale
    from otfuse.tiling import cut, shuttle_to, stream_through, stream_tiles
    from otfuse.tiling.rln_plan import rln_volume_bytes

    nz, ny, nx = extents
    on_gpu = options.compute.on_gpu
    count = _bytes_beside_gpu if on_gpu else rln_volume_bytes
    takes = partial(count, shape=(ny, nz, nx), views=network.views)
    plan = plan_volume(
        extents,
        tile=options.tile,
        overlap=options.overlap,
        max_memory=options.max_memory,
        gpu=gpu_of(options.compute),
        views=network.views,
        bytes_of=takes,
    )
    need = takes(plan.tile)
    ty, tz, tx = plan.tile
    report.row(
        "plan",
        f"{how_many(len(plan), 'tile')} of {by_extents((tz, ty, tx))} (z, y, x), "
        f"overlap {options.overlap} where cut, {in_bytes(need)}, intensities by the volume's "
        "percentiles",
    )

    def restore(volumes: Sequence[np.ndarray], write: WriteRows, steps: Steps) -> None:
        scales = [IntensityScale.of_file(volume) for volume in volumes]

        def read(tile: Any) -> list[np.ndarray]:
            arrays = []
            for volume, scale in zip(volumes, scales, strict=True):
                part = cut(volume.transpose(1, 0, 2), tile).transpose(1, 0, 2)
                arrays.append(scale.to_network(part))
                release_pages(volume)
            return arrays

        def compute(arrays: list[np.ndarray]) -> np.ndarray:
            result = network.restore(*arrays)
            if options.scale == "image":  # the first view's
                scales[0].to_image(result)
            steps.advance()
            return result.transpose(1, 0, 2)

        shuttle = shuttle_to(options.compute.device)
        if shuttle is None:
            stream_tiles(plan, read, compute, write)
            return
        tiles = RowTiles(network, scales[0] if options.scale == "image" else None)
        stream_through(shuttle, tiles, plan, read, write, steps.advance)

    return Work(restore, len(plan), plan=plan)


def _report_seams(plan: TilePlan, volume: np.ndarray, report: Report) -> None:
    from otfuse.tiling import seam_size

    seam = seam_size(plan, volume.transpose(1, 0, 2))
    report.row("seams", f"steps where tiles meet are {number(seam.ratio)} times those beside them")


def _published(
    options: PredictOptions, network: Any, extents: Sequence[int], report: Report
) -> Work:
    from otfuse.nn.rln_stitch import published_blocks, restore_as_published

    crop, overlap = published_blocks(extents)
    need, allowed = 12 * int(np.prod(extents)), allowed_for("predict", options.max_memory)
    if need > allowed:
        raise UsageError(
            f"predict: memory must not exceed {in_bytes(allowed)}, got a plan of "
            f"{in_bytes(need)} for --stitch published, which holds the whole volume; leave "
            "--stitch away or give a larger --max-memory"
        )
    report.row(
        "plan",
        f"blocks of {by_extents(crop)} (z, y, x), overlap {by_extents(overlap)}, each scaled by "
        "its own percentiles and back without offset, through float16: as published",
    )

    def restore(volumes: Sequence[np.ndarray], write: WriteRows, steps: Steps) -> None:
        whole = restore_as_published(volumes[0], network.restore)
        write(0, whole.transpose(1, 0, 2))
        steps.advance()

    return Work(restore)


def plan_volume(
    extents: Sequence[int],
    *,
    tile: int = 0,
    overlap: int = MODELS["rln"].overlap,
    max_memory: str | None = None,
    workers: int | None = None,
    gpu: Gpu | None = None,
    views: int = 1,
    bytes_of: Callable[[Sequence[int]], int] | None = None,
) -> TilePlan:
    """Tiles of a volume over the axes (y, z, x).

    Parameters
    ----------
    extents : (nz, ny, nx)
    tile : int
        Their extent along each axis; 0: as large as memory allows.
    overlap : int
        Voxels that neighbours share.
    max_memory : str, optional
        As typed; by default three quarters of what is free.
    workers : int, optional
        That share what is free.
    gpu : Gpu, optional
        That computes, if one does.
    views : int
        That the network takes.
    bytes_of : callable, optional
        Memory of tiles of given extents (y, z, x), where it is not `rln_volume_bytes`.

    Raises
    ------
    UsageError  if memory does not suffice.
    """
    from otfuse.tiling.rln_plan import plan_rln, rln_volume_bytes

    nz, ny, nx = extents
    shape = (ny, nz, nx)
    allowed = allowed_for("predict", max_memory, workers)
    need = bytes_of or partial(rln_volume_bytes, shape=shape, views=views)
    if tile > 0:
        return _plan_of_tile(shape, tile, overlap, allowed, gpu, need)

    def cost(tile: Sequence[int]) -> int:
        """Shares of the GPU's memory count as such shares of the main one."""
        here = need(tile)
        return here if gpu is None else max(here, gpu.need(tile) * allowed // max(1, gpu.free))

    try:
        return plan_rln(extents, allowed, overlap=overlap, bytes_of=cost)
    except ValueError:
        raise too_little("predict", "a tile", allowed) from None


def _plan_of_tile(
    shape: tuple[int, int, int],
    tile: int,
    overlap: int,
    allowed: int,
    gpu: Gpu | None,
    need_of: Callable[[Sequence[int]], int],
) -> TilePlan:
    """Tiles of the extent that was asked for, if they fit."""
    from otfuse.tiling import plan_tiles
    from otfuse.tiling.rln_plan import MULTIPLE, margin_of

    tiles = tuple(min(tile, n) for n in shape)
    is_cut = [t < n for t, n in zip(tiles, shape, strict=True)]
    plan = plan_tiles(
        shape,
        tiles,
        [overlap * cut for cut in is_cut],
        multiple=MULTIPLE,
        margin=[margin_of(overlap) * cut for cut in is_cut],
    )
    need = need_of(plan.tile)
    if need > allowed:
        raise UsageError(
            f"predict: memory must not exceed {in_bytes(allowed)}, got a plan of "
            f"{in_bytes(need)}; give a smaller --tile or a larger --max-memory"
        )
    if gpu is not None and gpu.need(plan.tile) > gpu.free:
        raise UsageError(
            f"predict: --tile must fit into {in_bytes(gpu.free)} of the GPU, got a plan of "
            f"{in_bytes(gpu.need(plan.tile))} there; give a smaller --tile"
        )
    return plan


def _bytes_beside_gpu(tile: Sequence[int], shape: Sequence[int], views: int) -> int:
    """Memory of the host while tiles go through a GPU: one is read, two are on their way in either
    direction, rows are blended and written."""
    from otfuse.tiling import pinned_bytes

    rows = 4 * tile[0] * shape[1] * shape[2]
    return 4 * (views + 1) * prod(tile) + 2 * (views + 1) * pinned_bytes(tile) + 2 * rows


def gpu_of(compute: Compute) -> Gpu | None:
    """The GPU that a network is on; None if it is on none."""
    import torch

    from otfuse.functional._devices import has_kernels
    from otfuse.tiling.rln_plan import DEVICE_BYTES

    if not compute.on_gpu:
        return None
    known = compute.away or has_kernels(torch.device(compute.device))
    return Gpu(compute.free, DEVICE_BYTES if known else _PLAIN)
