# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse info`, the memory it foretells, and the progress of a run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch

from cli_helpers import CommandLine, counts, lopsided_psf, save
from conftest import SHARED
from otfuse.cli import _memory, _progress
from otfuse.cli._memory import allowed_for, batch_length, check_memory, free_memory, job_memory
from otfuse.cli._progress import Progress
from otfuse.io import Optics, Stack


def test_an_unlabelled_stack(run: CommandLine) -> None:
    path = SHARED / "data" / "deconwolf_dapi_001.tif"
    if not path.exists():
        pytest.skip("shared data missing; set OTFUSE_SHARED to the folder")
    outcome = run("info", path)
    assert outcome.code == 0 and outcome.err == ""
    for text in (
        "axes        ZYX (the file says IYX)",
        "extents     40 x 201 x 101",
        "dtype       uint16, 1.62 MB",
        "voxel       unknown",
        "optics      none in the file",
        "it needs --na, --wavelength, --immersion-index, --voxel, or a PSF file",
    ):
        assert text in outcome.out
    assert re.search(r"deconvolve  about \d[\d.]* MB and [\d.]+ s for 30 iterations", outcome.out)


def test_everything_known(run: CommandLine, tmp_path: Path) -> None:
    optics = Optics(na=1.2, immersion_index=1.33, wavelengths=(0.461, 0.52), modality="widefield")
    image = save(
        tmp_path / "image.ome.tif",
        counts((2, 2, 5, 12, 14)),
        optics=optics,
        channel_names=("DAPI", "GFP"),
        time_step=2.0,
    )
    outcome = run("info", image)
    assert outcome.code == 0
    for text in (
        "(ome TIFF)",
        "axes        TCZYX",
        "extents     2 x 2 x 5 x 12 x 14",
        "channels    DAPI, GFP",
        "voxel       0.3, 0.1, 0.1 µm (z, y, x; OME metadata)",
        "time step   2 s",
        "emission 0.461 (DAPI), 0.52 (GFP) µm",
        "with the modelled PSF of 9 x ",
    ):
        assert text in outcome.out
    assert "it needs" not in outcome.out


def test_a_result_says_where_it_is_from(run: CommandLine, tmp_path: Path) -> None:
    image = save(tmp_path / "image.tif", counts((1, 1, 5, 12, 14)))
    psf = save(tmp_path / "psf.tif", lopsided_psf()[None, None])
    assert run.deconvolve(image, "--psf", psf).code == 0
    outcome = run("info", tmp_path / "out.tif")
    assert re.search(r"made by     otfuse \S+ deconvolve, 20\d\d-", outcome.out)


@pytest.mark.parametrize("shape", [(1, 1, 1, 20, 22), (6, 1, 1, 20, 22), (1, 3, 1, 20, 22)])
def test_flat_images(shape: tuple[int, ...], run: CommandLine, tmp_path: Path) -> None:
    image = save(tmp_path / "image.tif", counts(shape))
    outcome = run("info", image)
    assert outcome.code == 0 and "assumed PSF of 20 x 22" in outcome.out


def test_axes_by_option(run: CommandLine, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((20, 22, 3), np.uint8), photometric="rgb")
    run("info", tmp_path / "a.tif").failed(2, "RGB axis S")
    outcome = run("info", tmp_path / "a.tif", "--axes", "YXC")
    assert outcome.code == 0 and "axes        YXC (the file says YXS)" in outcome.out


def test_free_memory_is_plausible() -> None:
    free = free_memory()
    assert free is None or 10**6 < free < 10**14


def test_free_memory_respects_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n",
        "/sys/fs/cgroup/memory.max": "5000000\n",
        "/sys/fs/cgroup/memory.current": "2000000\n",
    }
    monkeypatch.setattr(_memory, "_read", lambda path: files.get(path, ""))
    assert free_memory() == 3_000_000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert free_memory() == 8_192_000


def test_memory_of_a_job_grows_with_what_is_asked() -> None:
    stack = Stack(np.zeros((3, 2, 4, 5, 6), np.uint16), "TCZYX", "TCZYX")
    plain = job_memory(1000, stack, "float32", masked=False, shown=False).total
    assert plain == 1000 + stack.data.nbytes + 120 * 4 + 240 * 4
    assert job_memory(1000, stack, "float32", masked=True, shown=False).total == plain + 120
    assert job_memory(1000, stack, "float32", masked=False, shown=True).total == plain + 960
    assert job_memory(1000, stack, "uint16", masked=False, shown=False).total > plain
    check_memory(job_memory(1000, stack, "float32", False, False), plain)


def test_channels_without_names_are_not_listed(run: CommandLine, tmp_path: Path) -> None:
    """Which a conversion calls by their numbers."""
    pytest.importorskip("zarr")
    for name, listed in (("channel 1", False), ("GFP", True)):
        image = save(tmp_path / f"{listed}.ome.tif", counts((1, 1, 2, 5, 6)), channel_names=(name,))
        assert run("convert", image, tmp_path / f"{listed}.zarr").code == 0
        out = run("info", tmp_path / f"{listed}.zarr").out
        assert (f"channels    {name}" in out) == listed


def test_local_workers_share_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "free_memory", lambda: 8_000_000)
    monkeypatch.setattr(_memory, "resident", lambda: 10**9)
    assert allowed_for("predict", None) == allowed_for("predict", None, 1) == 6_000_000
    assert allowed_for("predict", None, 4) == 1_500_000
    # What is typed counts for each of them, the program included.
    assert allowed_for("predict", "2GB", 4) == allowed_for("predict", "2GB") == 970_000_000


def test_2d_images_go_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    movie = Stack(np.zeros((7, 1, 1, 5, 6), np.uint16), "TYX", "TYX")
    assert batch_length(movie) == 7
    monkeypatch.setattr(_memory, "_BATCH_BYTES", 4 * 5 * 6 * 3)
    assert batch_length(movie) == 3
    assert batch_length(Stack(np.zeros((7, 1, 2, 5, 6)), "TZYX", "TZYX")) == 1


def seen(*divergence: float) -> SimpleNamespace:
    return SimpleNamespace(i_divergence=torch.tensor([divergence]), estimate=None, n_iters=10)


def test_quiet_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line per item at its end, and one every ten seconds."""
    clock = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock[0])
    with Progress(2, 10) as progress:
        show = progress.item("DAPI", 100)
        for i, now in ((5, 1.0), (10, 2.0)):
            clock[0] = now
            assert show(i, seen(500.0, 250.0)) is False
        show = progress.item("GFP", 100)
        for i, now in ((5, 30.0), (10, 40.0)):
            clock[0] = now
            show(i, seen(100.0))
    assert capsys.readouterr().out.splitlines() == [
        "iteration   DAPI: 10 of 10, I-divergence 2.5 per voxel, 2.0 s left",
        "iteration   GFP: 5 of 10, I-divergence 1 per voxel, 10 s left",
        "iteration   GFP: 10 of 10, I-divergence 1 per voxel",
    ]


def test_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(1, 10) as progress:
        show = progress.item("DAPI", 100)
        show(5, seen(250.0))
        show(10, seen(125.0))
    captured = capsys.readouterr()
    assert captured.out == "iteration   DAPI: 10 of 10, I-divergence 1.25 per voxel\n"
    assert "DAPI 10/10" in captured.err and "I-divergence 1.25" in captured.err
