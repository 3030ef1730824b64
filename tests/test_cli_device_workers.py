# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve --device` with workers: each has a GPU of its own, or a share of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from fake_gpu import FakeGpu, gpu
from test_cli_volume import Volumes, volumes

__all__ = ["gpu", "volumes"]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters whose workers are threads of this process, and see the GPU that is none."""
    distributed = pytest.importorskip("distributed")
    from otfuse.jobs import cluster

    @contextmanager
    def two_workers(_: object) -> Iterator[object]:
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0"
            ) as workers,
            distributed.Client(workers) as client,
        ):
            yield client

    monkeypatch.setattr(cluster, "local_cluster", two_workers)
    monkeypatch.setattr(cluster, "scheduler", two_workers)


@pytest.mark.parametrize(
    ("words", "name"),
    [(("--local-cluster", 2), "Late 1"), (("--scheduler", "tcp://late:1"), "2 workers'")],
)
def test_workers_share_the_gpu(
    words: tuple[object, ...], name: str, volumes: Volumes, gpu: FakeGpu, in_process: None
) -> None:
    volumes.prepare((1, 1, 16, 96, 110))
    gpu.free = 16 << 20
    assert volumes.run("--device", "cpu", out="cpu.zarr").code == 0
    assert gpu.device.copies == 0
    done = volumes.run(*words)
    assert done.code == 0, done.err
    assert f"device      cuda: {name}, 6.29 MB of its memory" in done.out  # half of three quarters
    assert gpu.device.copies >= 4
    whole = volumes.result("cpu.zarr")
    assert np.abs(volumes.result() - whole).max() <= 1e-3 * whole.max()


def test_workers_without_a_gpu(volumes: Volumes, gpu: FakeGpu, in_process: None) -> None:
    volumes.prepare((1, 1, 6, 40, 44))
    gpu.without_kernels()
    words = ("--scheduler", "tcp://late:1")
    volumes.run(*words, "--device", "cuda").failed(
        2, "--device must be there for every worker, got cuda, and 2 of 2 have no GPU"
    )
    volumes.run(*words, "--device", "cuda:0").failed(2, "must be without a number with")
    done = volumes.run(*words)
    assert done.code == 0, done.err
    assert "device      cpu" in done.out


def test_a_stop_is_decided_here_where_the_gpus_are_elsewhere(
    volumes: Volumes, gpu: FakeGpu, in_process: None
) -> None:
    volumes.words = ("--gain", "5", "--offset", "100", "--psf-center", "none", "--iters", "20")
    volumes.prepare((1, 1, 16, 96, 110))
    done = volumes.run("--scheduler", "tcp://late:1")
    assert done.code == 0, done.err
    assert gpu.device.copies == 2  # of the one tile


def test_each_worker_of_a_machine_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    from otfuse.jobs.cluster import local_cluster

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with local_cluster(3) as client:
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["5", "5", "7"]
