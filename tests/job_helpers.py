# SPDX-License-Identifier: BSD-3-Clause
"""A small volume, and the job of restoring it in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.io import create_volume, open_volume
from otfuse.jobs import (
    Job,
    Outcome,
    begin,
    find_ledger,
    here,
    job_folder,
    only_run,
    reopen,
    run_job,
)
from otfuse.tiling import Tile, plan_tiles

SHAPE = (1, 2, 12, 48, 40)
CHUNKS = (1, 1, 6, 16, 16)
PLAN = plan_tiles(SHAPE[2:], (12, 20, 18), (0, 6, 6), margin=(0, 2, 2))
# Children of a process that has imported all this begin at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["job_helpers"])


@dataclass(frozen=True)
class Slow:
    """Stands for a deconvolution: a local operation that takes its time."""

    seconds: float = 0.0

    def __call__(self, tile: Tile, counts: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        return np.sqrt(counts.astype(np.float32)) + np.float32(0.1)


def make_volume(path: Path, seed: int = 1) -> np.ndarray:
    """An OME-Zarr of counts."""
    data = np.random.default_rng(seed).poisson(100, SHAPE).astype(np.uint16)
    writer = create_volume(path, SHAPE, np.uint16, voxel=(0.3, 0.1, 0.1), chunks=CHUNKS)
    writer.write(..., data)
    writer.finish()
    return data


def work(
    folder: Path,
    seconds: float = 0.0,
    *,
    parameters: dict[str, Any] | None = None,
    wrap: Callable[[Job], Job] = lambda job: job,
    overwrite: bool = False,
) -> Outcome | None:
    """Restore folder/in.zarr into folder/out.zarr, or go on with it; None if nothing was left."""
    output = folder / "out.zarr"
    given = parameters or {"n_iters": 3}
    with only_run(output, lease=9.0) as lock:
        ledger = find_ledger(output, overwrite=overwrite)
        if ledger is None:

            def create(path: Path) -> Any:
                return create_volume(path, SHAPE, np.float32, chunks=CHUNKS)

            ledger = begin(output, create, given, {})
        ledger.check(given)
        target = reopen(output, ledger)
        if target is None:
            return None
        scratch = job_folder(output) / "scratch"
        source = open_volume(folder / "in.zarr")
        job = wrap(Job(source, target, scratch, PLAN, (Slow(seconds),) * SHAPE[0] * SHAPE[1]))
        with here(job) as place:
            return run_job(job, ledger, lock, place, lambda done, total: None)


def result(folder: Path) -> np.ndarray:
    """What the finished output holds."""
    return open_volume(folder / "out.zarr").read()
