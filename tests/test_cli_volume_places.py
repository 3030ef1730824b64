# SPDX-License-Identifier: BSD-3-Clause
"""Volumes from elsewhere and into TIFFs: URLs as images, tiles into rows, workers outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import otfuse
from cli_helpers import save
from otfuse.cli import _memory, _volume_settle
from otfuse.io import create_volume, open_volume, read_stack
from test_cli_volume import PSF, Volumes, volumes

pytest.importorskip("zarr")
__all__ = ["volumes"]


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were memory for some tiles and no whole image."""
    monkeypatch.setattr(_memory, "free_memory", lambda: 8 << 20)
    monkeypatch.setattr(_volume_settle, "allowed_for", lambda *given: 7 << 20)


def test_an_image_at_a_url(volumes: Volumes) -> None:
    """An object store, here fsspec's own in memory; the result is that of the folder."""
    data = volumes.prepare((1, 1, 6, 40, 44))
    writer = create_volume("memory://bucket/in.zarr", data.shape, np.uint16, overwrite=True)
    writer.write(..., data)
    writer.finish()
    assert volumes.run(out="near.zarr").code == 0
    words = volumes.command(out="far.zarr")
    words[1] = "memory://bucket/in.zarr"
    done = volumes(*words)
    assert done.code == 0, done.err
    np.testing.assert_array_equal(volumes.result("far.zarr"), volumes.result("near.zarr"))
    assert "nothing was left to do" in volumes(*words).out


@pytest.mark.parametrize(
    ("url", "code", "match"),
    [
        ("nosuch://bucket/in.zarr", 2, "location must be a path or a URL that fsspec knows"),
        ("memory://bucket/nothing.zarr", 2, "image must be an OME-Zarr group"),
        ("dropbox://a/in.zarr", 1, "location must have its protocol's package installed"),
    ],
)
def test_urls_that_cannot_be_read(volumes: Volumes, url: str, code: int, match: str) -> None:
    save(volumes.folder / "psf.tif", PSF[None, None])
    words = volumes.command()
    words[1] = url
    volumes(*words).failed(code, match)
    assert not (volumes.folder / "out.zarr").exists()


def test_into_a_tiff_by_tiles(volumes: Volumes, little_memory: None) -> None:
    data = volumes.prepare()
    done = volumes.run(out="out.tif")
    assert done.code == 0, done.err
    assert int(done.out.split(" tiles of")[0].split()[-1]) >= 3
    found = read_stack(volumes.folder / "out.tif")
    assert found.channel_names == ("GFP", "RFP")
    for channel in range(2):
        whole = otfuse.richardson_lucy(
            data[0, channel].astype(np.float32), PSF, 4, background=100, acceleration="shb"
        )
        assert np.abs(found.data[0, channel] - whole).max() <= 1e-3 * whole.max()


def test_a_bad_chunk_leaves_no_tiff(volumes: Volumes) -> None:
    volumes.prepare((1, 1, 6, 40, 44))
    chunk = volumes.folder / "in.zarr" / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    volumes.run(out="out.tif").failed(1, "chunk (0, 0, 0, 0, 0)", "must be readable")
    assert sorted(p.name for p in volumes.folder.iterdir()) == ["in.zarr", "psf.tif"]


def test_a_large_tiff_goes_through_in_tiles(
    volumes: Volumes, request: pytest.FixtureRequest
) -> None:
    data = volumes.prepare()
    save(volumes.folder / "in.tif", data)
    words = volumes.command(out="whole.tif")
    words[1] = str(volumes.folder / "in.tif")
    assert volumes(*words).code == 0
    request.getfixturevalue("little_memory")
    words[words.index("-o") + 1] = str(volumes.folder / "tiled.tif")
    done = volumes(*words)
    assert done.code == 0, done.err
    assert "that is more than it may take: in tiles" in done.out
    assert done.out.count("\nimage ") == 0  # it is the first line, and told once
    whole, tiled = (read_stack(volumes.folder / f"{n}.tif").data for n in ("whole", "tiled"))
    assert np.abs(tiled - whole).max() <= 1e-3 * whole.max()


def test_workers_of_an_outside_scheduler(volumes: Volumes, tmp_path: Path) -> None:
    """`dask scheduler` and `dask worker`, processes of their own."""
    volumes.prepare((2, 1, 6, 40, 44))
    assert volumes.run(out="near.zarr").code == 0
    where = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    dask = [sys.executable, "-m", "dask"]
    started = [
        [*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", where],
        [*dask, "worker", "--scheduler-file", where, "--nthreads", "2", "--no-dashboard"],
    ]
    processes = []
    try:
        for line in started:
            processes.append(subprocess.Popen(list(map(str, line)), env=env, **quiet))
            until = time.monotonic() + 60
            while not where.exists() and time.monotonic() < until:
                time.sleep(0.1)
        done = volumes.start("--scheduler", where, out="far.zarr")
        _, err = done.communicate(timeout=200)
        assert done.returncode == 0, err
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)
    np.testing.assert_array_equal(volumes.result("far.zarr"), volumes.result("near.zarr"))
    assert (
        open_volume(volumes.folder / "far.zarr").voxel
        == open_volume(volumes.folder / "near.zarr").voxel
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 800 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_file_system(volumes: Volumes, small_disk: Path) -> None:
    """The job stops cleanly, and goes on once there is room."""
    volumes.prepare((1, 1, 16, 96, 110))
    assert volumes.run(out="near.zarr").code == 0
    volumes.run(out="disk/out.zarr").failed(1, "disk full while writing; what is complete stays")
    assert not list(small_disk.rglob("*.partial"))
    words = ["mount", "-o", "remount,size=20m", str(small_disk)]
    subprocess.run(words, check=True)
    done = volumes.run(out="disk/out.zarr")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(volumes.result("disk/out.zarr"), volumes.result("near.zarr"))
