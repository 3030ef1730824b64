# SPDX-License-Identifier: BSD-3-Clause
"""A job from its first tile to its metadata, on this machine or on a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

from filelock import SoftFileLease

from otfuse.jobs.heap import share_heap
from otfuse.jobs.ledger import Ledger, plain
from otfuse.jobs.runner import Outcome, Runner, Told
from otfuse.jobs.tasks import Job

# One is computed while another is read, or written.
THREADS = 2


@dataclass(frozen=True)
class Workplace:
    """Where tasks are done.

    Attributes
    ----------
    executor : Executor
    slots : int
        Tasks that it takes at a time.
    tasks : object
        Has `restore` and `merge`.
    shared : bool
        Whether it writes through the job's own target, which then knows of each block.
    """

    executor: Executor
    slots: int
    tasks: Any
    shared: bool


@contextmanager
def here(job: Job) -> Iterator[Workplace]:
    """Threads of this process, which an interrupt leaves to end with it."""
    share_heap(4 * prod(job.plan.tile))
    executor = ThreadPoolExecutor(THREADS)
    try:
        yield Workplace(executor, THREADS, job, True)
    except BaseException as error:
        executor.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    executor.shutdown()


def run_job(
    job: Job,
    ledger: Ledger,
    lock: SoftFileLease,
    place: Workplace,
    told: Told,
    provenance: Mapping[str, Any] | None = None,
) -> Outcome:
    """Do what is left of a job.

    What an earlier run has written is compared with its checksums, and written again where they
    differ. With all blocks there, the pyramid and the metadata follow, and the scratch goes.

    Parameters
    ----------
    job : Job
    ledger : Ledger
    lock : SoftFileLease
        From `only_run`.
    place : Workplace
    told : callable
        (tiles restored, tiles in all), now and then.
    provenance : mapping, optional
        Stored with the result.

    Returns
    -------
    Outcome
        Tiles that could not be restored, and blocks that are missing for it.

    Raises
    ------
    RuntimeError  if another run has taken over.
    OSError  if the disk is full: what is there stays, and the same call goes on with it.
    """
    job.scratch.mkdir(exist_ok=True)
    for left in job.scratch.glob("*.partial"):
        left.unlink()
    for block, checksum in list(ledger.done.items()):
        if not job.holds(block, checksum):
            ledger.forget(block)
    _tell(job, ledger)
    runner = Runner(job, ledger, place.executor, place.tasks, place.slots)
    outcome = runner.run(told, lambda: lock.compromise is not None)
    if not outcome.missing:
        if not place.shared:
            _tell(job, ledger)
        job.target.finish(None if provenance is None else plain(provenance))
        ledger.finish()
        shutil.rmtree(job.scratch)
    return outcome


def _tell(job: Job, ledger: Ledger) -> None:
    """Tell the target of what others wrote, for its pyramid."""
    for block in sorted(ledger.done):
        job.target.completed((*block[:2], *(slice(*span) for span in job.spans(block))))
