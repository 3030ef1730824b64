# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve` into an OME-Zarr: by tiles, resumed where it was interrupted."""

from __future__ import annotations

import time
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.cli import _optics, _psf_input
from otfuse.cli._device import report_compute
from otfuse.cli._errors import UsageError
from otfuse.cli._options import DeconvolveOptions, as_typed
from otfuse.cli._report import Report, by_extents, how_many, in_bytes, in_time
from otfuse.cli._restore import describe
from otfuse.cli._steps import Steps
from otfuse.cli._volume_bytes import CHUNK, TileBytes
from otfuse.cli._volume_place import (
    counted,
    find_job,
    place_of,
    report_outcome,
    store_result,
)
from otfuse.cli._volume_preview import check_previews, write_volume_previews
from otfuse.cli._volume_settle import (
    COMPRESSION,
    edges_of,
    method_of,
    places_of,
    plan_volume,
    settle,
)
from otfuse.io import Saturation, Volume, create_volume, open_volume, provenance

if TYPE_CHECKING:
    from otfuse.jobs import Job, Ledger
    from otfuse.tiling import LoopPlan, TiledLoop

_TO_RATE = (32, 128, 128)  # what the rate is measured on, in a moment
# What the result does not depend on, or what is told by other means.
_NOT_PARAMETERS = (
    "image", "output", "psf", "device", "threads", "max_memory", "overwrite", "preview",
    "local_cluster", "scheduler",
)  # fmt: skip


def deconvolve_volume(options: DeconvolveOptions) -> None:
    """Begin or resume, restore what is missing, finish.

    Parameters
    ----------
    options : DeconvolveOptions
        Checked.
    """
    from otfuse.jobs import only_run, run_job

    started, report = time.monotonic(), Report()
    options, source, optics, psfs, record = prepare(options, report)
    with only_run(options.output) as lock:
        work, ledger = find_job(options)
        if ledger is None:
            check_previews(options, source.shape[1])
            settled = settle(options, source, psfs, optics.voxel, report)
            ledger = _begin(options, work, source, optics.voxel, record, settled)
        else:
            ledger.check(record["parameters"])
            report.row("resumed", f"{len(ledger.done)} blocks are written")
        job = _job(options, work, source, psfs, optics.voxel, ledger, report)
        if job is not None:
            with place_of(options, job, report) as place, Steps(len(job.tiles()), "tiles") as steps:
                outcome = run_job(job, ledger, lock, place, counted(steps), record)
            report_outcome(outcome, options.output, report, "deconvolve")
        store_result(options, work, source, record, report)
    write_volume_previews(options, source, optics.voxel, report)
    report.row("time", in_time(time.monotonic() - started))


def prepare(
    options: DeconvolveOptions, report: Report
) -> tuple[DeconvolveOptions, Volume, _optics.JobOptics, list[np.ndarray], dict[str, Any]]:
    """The options as settled, the volume, its optics, a PSF for each channel, the provenance."""
    from otfuse.cli.deconvolve import report_image, set_threads
    from otfuse.jobs import share_heap

    share_heap()
    source = open_volume(options.image, axes=options.axes)
    report_image(source, report)
    report_compute(options.compute, report)
    optics = _optics.choose_optics(options, source)
    modelled = not options.psf and source.shape[2] > 1
    options = options.settled(optics.modality if modelled else None)
    _check(options)
    _optics.introduce(optics, options, source, report)
    set_threads(options.threads)
    psfs = _as_volumes(_psf_input.prepare_psfs(options, source, optics, report))
    return options, source, optics, psfs, _record(options, source, optics, psfs)


def can_be_cut(options: DeconvolveOptions) -> bool:
    """Whether nothing that was asked for needs the whole image at once."""
    return not any(broken for _, _, broken, _ in _rules(options))


def _check(options: DeconvolveOptions) -> None:
    for name, rule, broken, value in _rules(options):
        if broken:
            raise UsageError(
                f"deconvolve: {name} must be {rule} where an OME-Zarr is read or written, got "
                f"{value}; tiles do not know the whole image"
            )


def _rules(options: DeconvolveOptions) -> tuple[tuple[str, str, bool, Any], ...]:
    return (
        ("--acceleration", "shb or none", options.acceleration == "biggs", options.acceleration),
        ("--boundary", "extended", options.boundary != "extended", options.boundary),
        ("--stop", "none, idiv or held-out", options.stop == "gradient-consensus", options.stop),
    )


def _as_volumes(psfs: list[np.ndarray]) -> list[np.ndarray]:
    """PSFs of three axes and one shape, centred at k // 2."""
    deep = [psf if psf.ndim == 3 else psf[None] for psf in psfs]
    shape = tuple(max(line) for line in zip(*(psf.shape for psf in deep), strict=True))
    padded = []
    for psf in deep:
        before = [n // 2 - k // 2 for n, k in zip(shape, psf.shape, strict=True)]
        after = [n - k - b for n, k, b in zip(shape, psf.shape, before, strict=True)]
        padded.append(np.pad(psf, list(zip(before, after, strict=True))))
    return padded


def _record(
    options: DeconvolveOptions, source: Volume, optics: _optics.JobOptics, psfs: list[np.ndarray]
) -> dict[str, Any]:
    typed = as_typed(options, _NOT_PARAMETERS)
    record = provenance(
        psf=psfs,
        command="deconvolve",
        input={
            "file": Path(options.image).name,
            "shape": list(source.shape),
            "dtype": str(source.dtype),
        },
        options=typed,
        optics=asdict(optics),
        # A job goes on where it began: a GPU's sums differ from a CPU's in their last bits.
        device=options.compute.kind,
    )
    record["parameters"]["psf"] = record["psf_sha256"]
    return record


def _begin(
    options: DeconvolveOptions,
    work: Path,
    source: Volume,
    voxel: Any,
    record: dict[str, Any],
    settled: dict[str, Any],
) -> Ledger:
    from otfuse.jobs import begin

    return begin(
        work,
        lambda path: create_volume(
            path,
            source.shape,
            np.float32,
            like=source,
            voxel=voxel,
            chunks=CHUNK,
            compression=options.compression or COMPRESSION,
        ),
        record["parameters"],
        settled,
    )


def _job(
    options: DeconvolveOptions,
    work: Path,
    source: Volume,
    psfs: list[np.ndarray],
    voxel: Any,
    ledger: Ledger,
    report: Report,
) -> Job | None:
    """The job as it was settled; None if it is done."""
    from otfuse.jobs import Job, job_folder, reopen

    target = reopen(work, ledger)
    if target is None:
        report.row("tiles", "complete already, nothing was left to do")
        return None
    settled = ledger.settled
    plan = plan_volume(options, source, psfs, max(settled["iterations"]), settled["grid"])
    ledger.check_settled({"tiles": places_of(plan)})
    of_channel = make_restorers(options, psfs, plan, settled, voxel)
    report_plan(options, source, plan, settled, report, psfs[0].shape)
    scratch = job_folder(work) / "scratch"
    return Job(source, target, scratch, plan.tiles, tuple(of_channel * source.shape[0]))


def report_plan(
    options: DeconvolveOptions,
    source: Volume,
    plan: LoopPlan,
    settled: dict[str, Any],
    report: Report,
    psf_shape: tuple[int, ...],
    *,
    rows: bool = False,
) -> None:
    """Print iterations, tiles, memory, and the time by the rate of this machine."""
    from otfuse.tiling import measure_rate

    tiles, iterations = plan.tiles, ", ".join(map(str, dict.fromkeys(settled["iterations"])))
    report.row(
        "plan",
        f"{iterations} iterations, {describe(options)}, {how_many(len(tiles), 'tile')} of "
        f"{by_extents(tiles.tile)} (z, y, x), grid {by_extents(plan.grid)}, overlap "
        f"{by_extents(tiles.overlap)}",
    )
    takes, extents = TileBytes(options, source, psf_shape, rows), (plan.grid, tiles.tile)
    text = f"{in_bytes(takes.here(*extents))} besides the program"
    if options.compute.on_gpu:
        text += f", {in_bytes(takes.there(*extents))} on the GPU"
    if options.scheduler is None:
        voxels = source.shape[0] * len(tiles) * prod(plan.grid)
        rate = measure_rate(_TO_RATE, device=options.compute.device)
        seconds = 1e-9 * rate * voxels * sum(settled["iterations"])
        text += f", about {in_time(seconds)} of iterations, by the rate measured now"
    report.notes([text])


def make_restorers(
    options: DeconvolveOptions,
    psfs: list[np.ndarray],
    plan: LoopPlan,
    settled: dict[str, Any],
    voxel: Any,
) -> list[TiledLoop]:
    """What restores the tiles of each channel."""
    channels = range(len(psfs))
    return [_restorer(options, psfs[c], plan, settled, c, voxel) for c in channels]


def _restorer(
    options: DeconvolveOptions,
    psf: np.ndarray,
    plan: LoopPlan,
    settled: dict[str, Any],
    channel: int,
    voxel: Any,
) -> TiledLoop:
    from otfuse.functional.rl_tile import RichardsonLucyTile
    from otfuse.tiling import TiledLoop

    level = settled["levels"][channel]
    dark = level["offset"] or 0.0
    loop = RichardsonLucyTile(
        psf,
        plan.grid,
        n_iters=settled["iterations"][channel],
        mean=settled["means"][channel],
        background=max(level["background"] - dark, 0.0),
        voxel=edges_of(options, voxel),
        **method_of(options),
    )
    found = level["saturation"]
    limit = None if found is None else Saturation(**found).level
    return TiledLoop(plan, loop, limit, dark, options.compute.device)
