# SPDX-License-Identifier: BSD-3-Clause
"""Where the tiles of a volume are worked on, how far that is, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otfuse.cli._errors import JobError
from otfuse.cli._report import Report
from otfuse.cli._steps import Steps
from otfuse.cli._volume_bytes import CHUNK
from otfuse.cli._volume_settle import COMPRESSION
from otfuse.io import Volume, convert, open_volume

if TYPE_CHECKING:
    from otfuse.jobs import Job, Ledger, Outcome

ENOUGH = 128 << 20  # bytes to turn results into integers with


@contextmanager
def place_of(options: Any, job: Job, report: Report) -> Iterator[Any]:
    """Threads here, or the workers that `--local-cluster` or `--scheduler` asks for."""
    from otfuse.jobs import here

    with ExitStack() as stack:
        if not options.local_cluster and options.scheduler is None:
            yield stack.enter_context(here(job))
            return
        from otfuse.jobs import cluster

        threads = options.threads
        if options.local_cluster:
            threads = max(1, (threads or _cores()) // options.local_cluster)
            client = stack.enter_context(cluster.local_cluster(options.local_cluster))
        else:
            client = stack.enter_context(cluster.scheduler(options.scheduler))
        report.row("dashboard", str(client.dashboard_link))
        yield stack.enter_context(cluster.on_cluster(job, client, threads))


def _cores() -> int:
    import torch

    return torch.get_num_threads()


def counted(steps: Steps) -> Callable[[int, int], None]:
    """What tells the bar how many tiles are restored; those of earlier runs count at first."""
    before: list[int] = []

    def told(done: int, total: int) -> None:
        if not before:
            steps.skip(done)
        elif done > before[-1]:
            steps.advance(done - before[-1])
        before[:] = [done]

    return told


def report_outcome(outcome: Outcome, output: Any, report: Report, command: str) -> None:
    """Print what failed, if anything did.

    Raises
    ------
    JobError  if blocks are missing.
    """
    for failure in outcome.failures:
        t, c = failure.tile[:2]
        report.row(
            "failed",
            f"time point {t + 1}, channel {c + 1}, voxels {failure.start} to {failure.stop} "
            f"(z, y, x): {failure.reason}",
        )
    if outcome.missing:
        raise JobError(
            f"{command}: {len(outcome.failures)} tiles failed and {len(outcome.missing)} blocks "
            f"of {output} are missing; mend the image and run the same command again"
        )


def find_job(options: Any) -> tuple[Path, Ledger | None]:
    """Where the float32 results of a job meet, and its ledger, if it was begun.

    Where integers are asked for, that is a folder beside the output: their factor hangs on the
    highest of all values.

    Raises
    ------
    OSError  as `otfuse.jobs.find_ledger`.
    """
    from otfuse.jobs import find_ledger

    ledger = find_ledger(options.output, overwrite=options.overwrite)
    if ledger is not None or options.dtype == "float32":
        return options.output, ledger
    work = options.output.with_name(f".{options.output.name}.float32")
    return work, find_ledger(work, overwrite=options.overwrite)


def store_result(
    options: Any, work: Path, source: Volume, record: Mapping[str, Any], report: Report
) -> None:
    """Turn float32 results that met beside the output into its dtype, and print what is there."""
    from otfuse.jobs import hand_over

    notes: tuple[str, ...] = ()

    def create(place: Path) -> None:
        nonlocal notes
        floats = open_volume(work)
        floats.description = source.description
        notes = convert(
            floats,
            place,
            chunks=CHUNK,
            compression=options.compression or COMPRESSION,
            dtype=options.dtype,
            negative="clip",
            provenance=record,
            max_bytes=ENOUGH,
        )

    if work != options.output:
        hand_over(work, options.output, create)
    report.row("result", f"{options.output}: {options.dtype}, OME-Zarr")
    report.notes(list(notes))
