# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve` into a TIFF by tiles: rows of them at a time, complete or not at all."""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from otfuse.cli._deconvolve_volume import make_restorers, prepare, report_plan
from otfuse.cli._options import DeconvolveOptions
from otfuse.cli._report import Report, in_time
from otfuse.cli._steps import Steps
from otfuse.cli._volume_place import ENOUGH
from otfuse.cli._volume_preview import check_previews, write_volume_previews
from otfuse.cli._volume_settle import plan_volume, settle
from otfuse.cli.deconvolve import report_highest
from otfuse.io import RowFile, Volume, Written, check_target, convert, open_volume, write_rows
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
    from otfuse.jobs import share_heap

    started, report, first = time.monotonic(), Report(), Report(shown=not introduced)
    options, source, optics, psfs, record = prepare(options, first)
    as_integers = options.dtype != "float32"
    each = 4 + np.dtype(options.dtype).itemsize * as_integers
    check_target(options.output, overwrite=options.overwrite, n_bytes=each * source.data.size)
    check_previews(options, source.shape[1])
    settled = settle(options, source, psfs, optics.voxel, first, rows=True)
    count = max(settled["iterations"])
    plan = plan_volume(options, source, psfs, count, settled["grid"], rows=True)
    report_plan(options, source, plan, settled, report, psfs[0].shape, rows=True)
    share_heap(4 * prod(plan.tiles.tile))
    restorers = make_restorers(options, psfs, plan, settled, optics.voxel)
    nt, nc = source.shape[:2]
    written: list[Written] = []
    source.voxel = optics.voxel
    beside = tempfile.TemporaryDirectory(dir=options.output.parent) if as_integers else None
    with beside or nullcontext("") as folder:
        work = Path(folder) / "float.ome.tif" if as_integers else options.output
        with (
            write_rows(
                work,
                source.shape,
                like=source,
                provenance=None if as_integers else record,
                overwrite=options.overwrite,
                written=written,
            ) as file,
            Steps(nt * nc * len(plan.tiles), "tiles") as steps,
        ):
            for t, c in np.ndindex(nt, nc):
                _restore(restorers[c], source, (t, c), file, steps)
        notes = written[0].notes
        if as_integers:
            notes = convert(
                open_volume(work),
                options.output,
                dtype=options.dtype,
                provenance=record,
                overwrite=options.overwrite,
                max_bytes=ENOUGH,
            )
    kind = open_volume(options.output).format
    report.row("result", f"{options.output}: {options.dtype}, {kind}, written by tiles")
    report_highest(written[0], source, report)
    report.notes(list(notes))
    write_volume_previews(options, source, optics.voxel, report)
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
