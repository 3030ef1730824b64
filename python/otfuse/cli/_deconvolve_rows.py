# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve` into a TIFF by tiles: rows of them at a time, complete or not at all."""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from otfuse.cli._deconvolve_volume import make_restorers, prepare, report_plan
from otfuse.cli._options import DeconvolveOptions
from otfuse.cli._report import Report, in_time, number
from otfuse.cli._steps import Steps
from otfuse.cli._volume_settle import plan_volume, settle
from otfuse.io import RowFile, Volume, Written, check_target, write_rows
from otfuse.tiling import Tile, TiledLoop
from otfuse.tiling.richardson_lucy import restore_image


def deconvolve_rows(options: DeconvolveOptions, *, introduced: bool = False) -> None:
    """Look, plan, restore and write a volume that is not held in memory.

    Parameters
    ----------
    options : DeconvolveOptions
        Checked.
    introduced : bool
        Whether image, optics and background have been reported.

    Raises
    ------
    ChunkError  if a chunk of the image is missing or damaged: the TIFF is then not there.
    """
    started, report, first = time.monotonic(), Report(), Report(shown=not introduced)
    options, source, optics, psfs, record = prepare(options, first)
    check_target(options.output, overwrite=options.overwrite, n_bytes=4 * source.data.size)
    settled = settle(options, source, psfs, optics.voxel, first, rows=True)
    count = max(settled["iterations"])
    plan = plan_volume(options, source, psfs, count, settled["grid"], rows=True)
    report_plan(options, plan, settled, report)
    restorers = make_restorers(options, psfs, plan, settled, optics.voxel)
    nt, nc = source.shape[:2]
    written: list[Written] = []
    source.voxel = optics.voxel
    with (
        write_rows(
            options.output,
            source.shape,
            like=source,
            provenance=record,
            overwrite=options.overwrite,
            written=written,
        ) as file,
        Steps(nt * nc * len(plan.tiles), "tiles") as steps,
    ):
        for t, c in np.ndindex(nt, nc):
            _restore(restorers[c], source, (t, c), file, steps)
    kind = {"imagej": "ImageJ TIFF", "ome": "OME-TIFF"}[written[0].kind]
    report.row("result", f"{options.output}: float32, {kind}, written by tiles")
    report.notes([f"highest value {number(top)}" for top in written[0].highest])
    report.notes(list(written[0].notes))
    report.row("time", in_time(time.monotonic() - started))


def _restore(
    restorer: TiledLoop, source: Volume, place: tuple[int, int], file: RowFile, steps: Steps
) -> None:
    """One image."""

    def read(tile: Tile) -> np.ndarray:
        return source.read_float32((*place, *tile.slices))

    def write(plane: int, block: np.ndarray) -> None:
        file.write(*place, 0, block.transpose(1, 0, 2), plane=plane)

    restore_image(restorer, read, write, partial(steps.advance, 1))
