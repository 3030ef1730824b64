# SPDX-License-Identifier: BSD-3-Clause
"""Working through a job: tiles first, each block as soon as its tiles are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from otfuse.jobs.ledger import Block, Ledger
from otfuse.jobs.tasks import Failure, Job, TileId

Told = Callable[[int, int], None]


@dataclass
class Outcome:
    """What a run leaves undone."""

    failures: list[Failure] = field(default_factory=list)
    missing: list[Block] = field(default_factory=list)


class Runner:
    """Keeps an executor busy with what is left of a job.

    Parameters
    ----------
    job : Job
    ledger : Ledger
    executor : Executor
        Threads here, or the workers of a cluster.
    tasks : object
        Has `restore` and `merge`, which the executor is given: the job, or what finds the job
        where the work is done.
    slots : int
        Tasks handed over at a time.
    """

    def __init__(
        self, job: Job, ledger: Ledger, executor: Executor, tasks: Any, slots: int
    ) -> None:
        self._job, self._ledger = job, ledger
        self._executor, self._tasks, self._slots = executor, tasks, slots
        self._running: dict[Future[Any], TileId | Block] = {}
        self._merging: set[Future[Any]] = set()
        self._tiles_of: dict[Block, list[TileId]] = defaultdict(list)
        self._blocks_of: dict[TileId, set[Block]] = {}
        for tile in job.tiles():
            blocks = list(job.blocks_of(tile))
            for block in blocks:
                self._tiles_of[block].append(tile)
            self._blocks_of[tile] = {block for block in blocks if block not in ledger.done}
        self._missing = {b for b in self._tiles_of if b not in ledger.done}
        self._restored: set[TileId] = set()
        self._ready: list[Block] = []
        self.outcome = Outcome()

    def run(self, told: Told, stopped: Callable[[], bool]) -> Outcome:
        """Do what is left; blocks of tiles that failed are left out.

        Parameters
        ----------
        told : callable
            (tiles restored, tiles in all), after each.
        stopped : callable
            Asked after each task; a true answer ends the run with RuntimeError.

        Raises
        ------
        Whatever ends a task but a fault of its tile; tasks that have begun end first. An interrupt
        does not wait for them, as a tile may take minutes: what they write is gone over again.
        """
        needed = [t for t in self._job.tiles() if self._blocks_of[t]]
        kept = [tile for tile in needed if self._job.part(tile).exists()]
        for tile in kept:
            self._take(tile)
        left = iter([tile for tile in needed if tile not in self._restored])
        total, done = len(self._blocks_of), len(self._blocks_of) - len(needed) + len(kept)
        told(done, total)
        try:
            while self._fill(left):
                finished, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for future in sorted(finished, key=lambda f: self._running[f]):
                    done += self._collect(future)
                    told(done, total)
                if stopped():
                    raise RuntimeError("jobs: output must be held, another run took it over")
        except BaseException as error:
            for future in self._running:
                future.cancel()
            if isinstance(error, Exception):
                wait(self._running)
            raise
        self.outcome.missing = sorted(self._missing)
        return self.outcome

    def _fill(self, left: Any) -> bool:
        """Hand over blocks that are ready, then tiles; whether anything is under way."""
        while len(self._running) < self._slots:
            if self._ready:
                block = self._ready.pop(0)
                tiles = tuple(self._tiles_of[block])
                future = self._executor.submit(self._tasks.merge, block, tiles)
                self._merging.add(future)
                self._running[future] = block
                continue
            tile = next(left, None)
            if tile is None:
                break
            self._running[self._executor.submit(self._tasks.restore, tile)] = tile
        return bool(self._running)

    def _collect(self, future: Future[Any]) -> int:
        """Take in a finished task; 1 if it was a tile."""
        name = self._running.pop(future)
        result = future.result()
        if future in self._merging:
            self._merging.remove(future)
            self._written(name, result)
            return 0
        if result is None:
            self._take(name)
        else:
            self.outcome.failures.append(result)
        return 1

    def _take(self, tile: TileId) -> None:
        """A tile is restored: some blocks may now be complete."""
        self._restored.add(tile)
        for block in sorted(self._blocks_of[tile]):
            if all(t in self._restored for t in self._tiles_of[block]):
                self._ready.append(block)

    def _written(self, block: Block, checksum: str) -> None:
        """A block is in the store: tiles may be of no more use."""
        self._ledger.record(block, checksum)
        self._missing.discard(block)
        for tile in self._tiles_of[block]:
            self._blocks_of[tile].discard(block)
            if not self._blocks_of[tile]:
                self._job.release(tile)
