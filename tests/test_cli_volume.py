# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve IMAGE.zarr -o OUT.zarr`: by tiles, resumed, on workers that die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import otfuse
from cli_helpers import VOXEL, CommandLine, Outcome, lopsided_psf, save
from otfuse.cli import _volume_settle
from otfuse.io import create_volume, open_volume
from otfuse.io.camera import dark_levels
from otfuse.jobs import Ledger, job_folder
from volumes import fill

pytest.importorskip("zarr")
PSF = lopsided_psf((9, 10, 11))
SHAPE = (1, 2, 16, 96, 110)


def counts_of(shape: tuple[int, ...], seed: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    light = 3000.0 * (rng.random(shape) > 0.99)
    for axis in (2, 3, 4):
        light = (light + np.roll(light, 1, axis) + np.roll(light, -1, axis)) / 3
    return rng.poisson(100 + light).astype(np.uint16)


class Volumes(CommandLine):
    """Restores in.zarr by psf.tif, four iterations, over a background of 100."""

    words = ("--iters", "4", "--background", "100", "--psf-center", "none")

    def prepare(self, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
        data = counts_of(shape)
        chunks = (1, 1, *(min(c, n) for c, n in zip((16, 64, 64), shape[2:], strict=True)))
        writer = create_volume(
            self.folder / "in.zarr", shape, np.uint16, voxel=VOXEL, chunks=chunks,
            channel_names=["GFP", "RFP"][: shape[1]],
        )  # fmt: skip
        writer.write(..., data)
        writer.finish()
        save(self.folder / "psf.tif", PSF[None, None])
        return data

    def command(self, *more: object, out: str = "out.zarr") -> list[str]:
        image, psf = self.folder / "in.zarr", self.folder / "psf.tif"
        given = (image, "-o", self.folder / out, "--psf", psf, *self.words, *more)
        return [str(word) for word in ("deconvolve", *given)]

    def run(self, *more: object, out: str = "out.zarr") -> Outcome:
        return self(*self.command(*more, out=out))

    def start(self, *more: object, out: str = "out.zarr") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "otfuse.cli", *self.command(*more, out=out)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # Which a background job's child ignores.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def result(self, out: str = "out.zarr") -> np.ndarray:
        return open_volume(self.folder / out).read()


@pytest.fixture
def volumes(capsys: pytest.CaptureFixture[str], tmp_path: Path, one_thread: None) -> Volumes:
    return Volumes(capsys, tmp_path)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were memory for little."""
    monkeypatch.setattr(_volume_settle, "allowed_for", lambda *given: 13 << 20)


def test_restores_a_volume_by_tiles(volumes: Volumes, small_tiles: None) -> None:
    data = volumes.prepare()
    done = volumes.run()
    assert done.code == 0, done.err
    assert int(done.out.split(" tiles of")[0].split()[-1]) >= 3
    told = re.search(r"([\d.]+) MB besides the program, about [\d.]+ \S+ of iterations", done.out)
    assert told is not None and 5 < float(told[1]) <= 13.7
    found = open_volume(volumes.folder / "out.zarr")
    assert found.voxel == VOXEL and found.channel_names == ("GFP", "RFP")
    for channel in range(2):
        whole = otfuse.richardson_lucy(
            data[0, channel].astype(np.float32), PSF, 4, background=100, acceleration="shb"
        )
        assert np.abs(found.read((0, channel)) - whole).max() <= 1e-3 * whole.max()
    again = volumes.run()
    assert again.code == 0 and "nothing was left to do" in again.out
    changed = volumes.run("--tv", "0.001")
    changed.failed(2, "options tv must be what the output was begun with, 0.0, got 0.001")
    assert volumes.run("--tv", "0.001", "--overwrite").code == 0


def test_automatic_levels(volumes: Volumes, small_tiles: None) -> None:
    volumes.words = ("--iters", "2", "--psf-center", "none")
    volumes.prepare()
    done = volumes.run()
    assert done.code == 0, done.err
    settled = Ledger(job_folder(volumes.folder / "out.zarr")).settled
    stack = otfuse.io.open_volume(volumes.folder / "in.zarr")
    for channel, level in enumerate(settled["levels"]):
        counts = stack.read((slice(None), channel))
        background, dark = dark_levels(counts)
        assert level["background"] == pytest.approx(background, rel=1e-3)
        assert level["offset"] == pytest.approx(dark, rel=1e-3)
        assert settled["means"][channel] == pytest.approx(counts.mean() - dark, rel=1e-3)


def test_held_out_photons_stop_all_tiles(
    volumes: Volumes, small_tiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes.words = ("--gain", "5", "--offset", "100", "--psf-center", "none", "--iters", "40")
    volumes.prepare((1, 1, 16, 96, 110))
    # To decide takes more than to restore.
    volumes.run().failed(2, "memory must hold a tile besides the program", "got 13.6 MB for it")
    monkeypatch.setattr(_volume_settle, "allowed_for", lambda *given: 19 << 20)
    assert volumes.run().code == 0
    iterations = Ledger(job_folder(volumes.folder / "out.zarr")).settled["iterations"]
    assert len(iterations) == 1 and 1 <= iterations[0] <= 40


def test_bad_chunk_is_reported(volumes: Volumes, small_tiles: None) -> None:
    volumes.prepare()
    chunk = volumes.folder / "in.zarr" / "0" / "c" / "0" / "1" / "0" / "1" / "1"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:20])
    done = volumes.run()
    done.failed(1, "tiles failed", "run the same command again")
    assert "channel 2" in done.out and "(z, y, x)" in done.out
    chunk.write_bytes(whole)
    done = volumes.run()
    assert done.code == 0, done.err
    assert "blocks are written" in done.out
    assert np.isfinite(volumes.result()).all()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--acceleration", "biggs"), "--acceleration must be shb or none where an OME-Zarr"),
        (("--boundary", "circular"), "--boundary must be extended where an OME-Zarr"),
        (
            ("--stop", "gradient-consensus", "--gain", "1", "--offset", "100"),
            "--stop must be none, idiv or held-out where an OME-Zarr",
        ),
        (("--local-cluster", "0"), "--local-cluster must be at least 1"),
        (("--local-cluster", "2", "--scheduler", "tcp://a:1"), "--scheduler must be left away"),
        (("--max-memory", "1kB"), "memory must hold a tile besides the program itself"),
    ],
)
def test_rejects(volumes: Volumes, words: tuple[str, ...], match: str) -> None:
    volumes.prepare((1, 1, 4, 20, 24))
    volumes.run(*words).failed(2, match)
    assert not (volumes.folder / "out.zarr").exists()


def test_saturated_voxels_are_told(volumes: Volumes) -> None:
    data = volumes.prepare((1, 1, 4, 20, 24))
    data[0, 0, 1, 3, 4:9] = 65535
    place, chunks = volumes.folder / "in.zarr", (1, 1, 4, 20, 24)
    fill(place, data, like=None, voxel=VOXEL, chunks=chunks, overwrite=True)
    done = volumes.run()
    assert done.code == 0 and "saturated   5 voxels at 65535 (0.26%), masked" in done.out
    assert "saturated  " not in volumes.run("--no-mask-saturated", "--overwrite").out


def test_never_removes_the_image(volumes: Volumes) -> None:
    data = volumes.prepare((1, 1, 6, 20, 20))
    for out in ("in.zarr", "in.zarr/0/x.zarr"):
        outcome = volumes.run("--overwrite", out=out)
        assert outcome.code == 2
        assert "--output must lie apart from what is read" in outcome.err
    np.testing.assert_array_equal(open_volume(volumes.folder / "in.zarr").read(), data)


def test_never_removes_what_is_no_zarr(volumes: Volumes) -> None:
    volumes.prepare((1, 1, 6, 20, 20))
    kept = volumes.folder / "out.zarr" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    outcome = volumes.run("--overwrite")
    assert outcome.code != 0
    assert "output is a folder that is no Zarr" in outcome.err
    assert kept.read_text() == "mine"


def test_output_folder_must_exist(volumes: Volumes) -> None:
    volumes.prepare((1, 1, 6, 20, 20))
    outcome = volumes.run(out="nowhere/out.zarr")
    assert outcome.code != 0
    assert "output folder must exist" in outcome.err


def test_workers_need_a_zarr(volumes: Volumes) -> None:
    volumes.prepare((1, 1, 4, 20, 24))
    volumes.run("--local-cluster", "2", out="out.tif").failed(2, "--output must end in .zarr")


@pytest.mark.parametrize(
    ("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminated"]
)
def test_an_interrupt_does_not_wait_for_tiles(
    volumes: Volumes, kind: signal.Signals, code: int
) -> None:
    """And the job can be gone on with."""
    volumes.prepare((1, 1, 4, 20, 24))
    volumes.words = ("--iters", "100000000", "--background", "100", "--psf-center", "none")
    process = volumes.start()
    scratch = job_folder(volumes.folder / "out.zarr") / "scratch"
    while not scratch.exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(kind)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert not Ledger(scratch.parent).finished


def test_two_workers_one_killed(volumes: Volumes) -> None:
    """A worker dies by SIGKILL; another takes its place, and the result is the same."""
    volumes.words = ("--iters", "20", "--background", "100", "--psf-center", "none")
    volumes.prepare((4, 1, 16, 96, 110))
    quiet = volumes.start(out="quiet.zarr")
    _, err = quiet.communicate(timeout=250)
    assert quiet.returncode == 0, err
    process = volumes.start("--local-cluster", "2")
    victim = None
    scratch = job_folder(volumes.folder / "out.zarr") / "scratch"
    while victim is None and process.poll() is None:
        time.sleep(0.02)
        if scratch.exists() and any(scratch.iterdir()):
            children = psutil.Process(process.pid).children(recursive=True)
            workers = [c for c in children if "spawn_main" in " ".join(c.cmdline())]
            victim = workers[0]
            victim.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert victim is not None and "dashboard" in out
    np.testing.assert_array_equal(volumes.result(), volumes.result("quiet.zarr"))
