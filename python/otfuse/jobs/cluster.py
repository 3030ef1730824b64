# SPDX-License-Identifier: BSD-3-Clause
"""The workers of a Dask cluster: those of this machine, or of a scheduler somewhere."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from pathlib import Path

import dask
from distributed import Client, LocalCluster, Worker, WorkerPlugin

from otfuse.jobs.heap import share_heap
from otfuse.jobs.ledger import Block
from otfuse.jobs.run import THREADS, Workplace
from otfuse.jobs.tasks import Failure, Job, TileId
from otfuse.tiling import gpu_here

# A tile is given up when so many workers have died of it.
_DEATHS = 5
_PAYLOADS: dict[str, bytes] = {}


class _Install(WorkerPlugin):
    """Brings a job to each worker once, also to those that take the place of dead ones."""

    def __init__(self, name: str, payload: bytes, threads: int | None) -> None:
        self.name, self._payload, self._threads = name, payload, threads

    def setup(self, worker: Worker) -> None:
        share_heap()
        _PAYLOADS[self.name] = self._payload
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)

    def teardown(self, worker: Worker) -> None:
        _PAYLOADS.pop(self.name, None)


class _OwnGpu(WorkerPlugin):
    """Has each of a machine's workers see one GPU, by turns, before it looks for any."""

    def __init__(self, gpus: list[str]) -> None:
        self._gpus = gpus

    def setup(self, worker: Worker) -> None:
        own = self._gpus[int(worker.name) % len(self._gpus)]
        os.environ["CUDA_VISIBLE_DEVICES"] = own


def _visible_gpus() -> list[str]:
    """Those of this process, as workers can be told of them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (named.split(",") if named else [str(i) for i in range(count)])[:count]


class _Remote:
    """The tasks of a job, found by its name where they are done."""

    def __init__(self, name: str) -> None:
        self._name = name

    def restore(self, tile: TileId) -> Failure | None:
        """As `Job.restore`."""
        return _job(self._name).restore(tile)

    def merge(self, block: Block, tiles: tuple[TileId, ...]) -> str:
        """As `Job.merge`."""
        return _job(self._name).merge(block, tiles)


@lru_cache(1)
def _job(name: str) -> Job:
    found: Job = pickle.loads(_PAYLOADS[name])
    share_heap(4 * prod(found.plan.tile))
    return found


@contextmanager
def local_cluster(n_workers: int, memory: int | None = None) -> Iterator[Client]:
    """Processes of this machine, each with a GPU of its own where there are so many.

    A nanny replaces those that die.

    Parameters
    ----------
    n_workers : int
    memory : int, optional
        Bytes that each may take before it is ended and replaced.
    """
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": _DEATHS}),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=THREADS,
            memory_limit=0 if memory is None else memory,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        gpus = _visible_gpus()
        if gpus:
            client.register_plugin(_OwnGpu(gpus))
        yield client


@contextmanager
def scheduler(address: str) -> Iterator[Client]:
    """The workers of a scheduler; they need the package, and the paths of source and target.

    Parameters
    ----------
    address : str
        `tcp://host:8786`, or a scheduler file.
    """
    where = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    with Client(**where) as client:
        yield client


def free_on_gpus(client: Client) -> list[int]:
    """Bytes free for each worker on its GPU, shared with others or not; 0 where it has none.

    Waits for a first worker.
    """
    client.submit(gpu_here, pure=False).result()  # a cluster may grow with what is asked of it
    found = list(client.run(gpu_here).values())
    workers = Counter(gpu.name for gpu in found if gpu is not None)
    return [0 if gpu is None else gpu.free // workers[gpu.name] for gpu in found]


@contextmanager
def on_cluster(job: Job, client: Client, threads: int | None = None) -> Iterator[Workplace]:
    """The workers of a client, each with the job at hand.

    Parameters
    ----------
    job : Job
    client : Client
    threads : int, optional
        Threads that one worker computes with.
    """
    payload = pickle.dumps(job)
    # By its content: workers that live on keep the job that they had under a name.
    name = f"otfuse-{hashlib.sha256(payload).hexdigest()}"
    client.register_plugin(_Install(name, payload, threads), name=name)
    slots = max(1, sum(client.nthreads().values()))
    try:
        with client.get_executor(pure=False) as executor:
            yield Workplace(executor, slots, _Remote(name), False)
    finally:
        client.unregister_worker_plugin(name)
