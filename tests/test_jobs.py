# SPDX-License-Identifier: BSD-3-Clause
"""Jobs go on where they were killed, refuse what would spoil them, and tell what failed."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from job_helpers import CHUNKS, PLAN, PROCESSES, SHAPE, Slow, make_volume, result, work
from otfuse.io import create_volume, open_volume
from otfuse.jobs import (
    ChangedParameters,
    Job,
    Ledger,
    OutputInUse,
    job_folder,
    only_run,
)
from otfuse.jobs.tasks import _COMPUTING
from otfuse.tiling import plan_tiles

pytest.importorskip("zarr")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_volume(tmp_path / "in.zarr")
    return tmp_path


@pytest.fixture
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The result of a run that nobody disturbed."""
    quiet = tmp_path_factory.mktemp("quiet")
    make_volume(quiet / "in.zarr")
    assert work(quiet).missing == []
    return result(quiet)


def test_result_is_that_of_the_whole(folder: Path, expected: np.ndarray) -> None:
    counts = open_volume(folder / "in.zarr").read()
    np.testing.assert_allclose(expected, np.sqrt(counts.astype(np.float32)) + 0.1, rtol=1e-6)


def test_finished_job_leaves_its_ledger_only(folder: Path) -> None:
    work(folder)
    kept = job_folder(folder / "out.zarr")
    assert [path.name for path in kept.iterdir()] == ["ledger.jsonl"]
    assert sorted(p.name for p in folder.iterdir()) == ["in.zarr", "out.zarr"]
    assert work(folder) is None  # nothing is left to do
    lines = [json.loads(line) for line in (kept / "ledger.jsonl").read_text().splitlines()]
    n_blocks = np.prod([-(-n // c) for n, c in zip(SHAPE, CHUNKS, strict=True)])
    assert sum("checksum" in line for line in lines) == n_blocks


def test_killed_ten_times(folder: Path, expected: np.ndarray, rng: np.random.Generator) -> None:
    """SIGKILL at random moments; the same call again, until it is done."""
    kills = 0
    for _ in range(100):
        process = PROCESSES.Process(target=work, args=(folder, 0.05))
        process.start()
        if kills < 10:
            process.join(float(rng.uniform(0.05, 0.45)))
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.join()
            continue
        process.join()
        assert process.exitcode == 0
        break
    assert kills == 10
    np.testing.assert_array_equal(result(folder), expected)
    assert not list((folder / "out.zarr").rglob("*.partial"))


def test_two_runs_are_refused(folder: Path) -> None:
    process = PROCESSES.Process(target=work, args=(folder, 0.2))
    process.start()
    lock = folder / ".out.zarr.lock"
    while not lock.exists():
        time.sleep(0.01)
    with pytest.raises(OutputInUse, match="must not be written by another run"):
        work(folder)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert lock.exists()
    work(folder)  # the owner is dead
    assert not lock.exists()


def test_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_run(tmp_path / "out.zarr"):
        1 / 0  # noqa: B018
    with only_run(tmp_path / "out.zarr"):
        pass


def test_changed_parameter_is_refused(folder: Path, expected: np.ndarray) -> None:
    work(folder)
    with pytest.raises(ChangedParameters, match="n_iters must be what the output was begun with"):
        work(folder, parameters={"n_iters": 4})
    assert work(folder, parameters={"n_iters": 4}, overwrite=True).missing == []
    np.testing.assert_array_equal(result(folder), expected)


def test_another_version_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger.start(tmp_path, {"n_iters": 3}, {"tiles": ((0, 4), (6, 10))})
    ledger = Ledger(tmp_path)
    ledger.check({"n_iters": 3})
    ledger.check_settled({"tiles": ((0, 4), (6, 10))})
    with pytest.raises(ChangedParameters, match="tiles must be what the output was begun with"):
        ledger.check_settled({"tiles": ((0, 5), (6, 10))})
    monkeypatch.setattr("otfuse.__version__", "99")
    with pytest.raises(ChangedParameters, match="version must be what the output was begun with"):
        ledger.check({"n_iters": 3})
    ledger.finish()
    ledger.check({"n_iters": 3})


def test_foreign_output_is_refused(folder: Path) -> None:
    make_volume(folder / "out.zarr")
    with pytest.raises(FileExistsError, match="output exists"):
        work(folder)


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_bad_input_chunk_fails_its_tiles(folder: Path, expected: np.ndarray, damage: str) -> None:
    chunk = folder / "in.zarr" / "0" / "c" / "0" / "1" / "0" / "0" / "0"
    whole = chunk.read_bytes()
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(whole[: len(whole) // 2])
    outcome = work(folder)
    assert outcome is not None
    failed = sorted(failure.tile for failure in outcome.failures)
    assert failed == [(0, 1, 0, 0, 0), (0, 1, 0, 0, 1), (0, 1, 0, 1, 0), (0, 1, 0, 1, 1)]
    assert (0, 0, 0) in [failure.start for failure in outcome.failures]
    assert (0, 1, 0, 0, 0) in outcome.missing
    done = {b for b in Ledger(job_folder(folder / "out.zarr")).done}
    assert (0, 0, 0, 0, 0) in done and (0, 1, 1, 2, 2) in done
    chunk.write_bytes(whole)
    assert work(folder).missing == []
    np.testing.assert_array_equal(result(folder), expected)


class Full(Job):
    """A target whose file system takes so many blocks."""

    left = 7

    def merge(self, block, tiles):
        if Full.left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        Full.left -= 1
        return super().merge(block, tiles)


def test_full_disk_stops_and_goes_on(folder: Path, expected: np.ndarray) -> None:
    def wrap(job: Job) -> Job:
        return Full(job.source, job.target, job.scratch, job.plan, job.restorers)

    with pytest.raises(OSError, match="No space left"):
        work(folder, wrap=wrap)
    assert 0 < len(Ledger(job_folder(folder / "out.zarr")).done) <= 7
    assert not _COMPUTING.locked()
    assert work(folder).missing == []
    np.testing.assert_array_equal(result(folder), expected)


def test_damaged_output_is_written_again(folder: Path, expected: np.ndarray) -> None:
    class Stopped(Exception):
        pass

    class Stops(Job):
        def merge(self, block, tiles):
            if block == (0, 1, 1, 2, 2):
                raise Stopped
            return super().merge(block, tiles)

    with pytest.raises(Stopped):
        work(folder, wrap=lambda j: Stops(j.source, j.target, j.scratch, j.plan, j.restorers))
    chunk = folder / "out.zarr" / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    assert work(folder).missing == []
    np.testing.assert_array_equal(result(folder), expected)


def test_torn_ledger_loses_its_last_line(folder: Path) -> None:
    work(folder)
    kept = job_folder(folder / "out.zarr")
    before = Ledger(kept).done
    with (kept / "ledger.jsonl").open("a") as file:
        file.write('{"block": [0, 0')
    assert Ledger(kept).done == before
    (kept / "ledger.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="ledger must be of format"):
        Ledger(kept)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extents=st.tuples(*[st.integers(3, 20)] * 3),
    tile=st.integers(8, 14),
    overlap=st.integers(0, 6),
    chunk=st.integers(3, 9),
)
def test_any_tiles_any_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    extents: tuple[int, int, int],
    tile: int,
    overlap: int,
    chunk: int,
) -> None:
    """Blocks put together from tiles are the whole, wherever either of them end."""
    folder = tmp_path_factory.mktemp("any")
    shape, cells = (1, 1, *extents), (1, 1, *(min(chunk, n) for n in extents))
    data = np.random.default_rng(0).poisson(50, shape).astype(np.uint16)
    writer = create_volume(folder / "in.zarr", shape, np.uint16, chunks=cells)
    writer.write(..., data)
    writer.finish()
    target = create_volume(folder / "out.zarr", shape, np.float32, chunks=cells)
    plan = plan_tiles(extents, tile, overlap)
    job = Job(open_volume(folder / "in.zarr"), target, folder, plan, (Slow(),))
    tiles_of: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for name in job.tiles():
        assert job.restore(name) is None
        for block in job.blocks_of(name):
            tiles_of.setdefault(block, []).append(name)
    for block, names in tiles_of.items():
        assert job.holds(block, job.merge(block, tuple(names)))
    target.finish()
    found = open_volume(folder / "out.zarr").read()
    np.testing.assert_allclose(found, np.sqrt(data) + 0.1, rtol=1e-5)


def test_plan_of_the_helpers_has_many_tiles() -> None:
    assert len(PLAN) >= 9 and replace(PLAN).grid == PLAN.grid


class Answer:
    """Stands in for a job: each tile is a number."""

    scratch, plan = "the same folder", PLAN

    def __init__(self, number: int) -> None:
        self.number = number

    def restore(self, tile: object) -> int:
        return self.number


def test_workers_that_live_on_take_the_job_at_hand() -> None:
    from otfuse.jobs import cluster

    with Client(processes=False, n_workers=1, dashboard_address=None) as client:
        for number in (1, 2):
            with cluster.on_cluster(Answer(number), client) as place:  # type: ignore[arg-type]
                assert place.executor.submit(place.tasks.restore, (0,)).result() == number
