# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse train`: from files and simulated, resumed, and by two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_helpers import CommandLine, save
from compare import assert_same
from otfuse.cli._train_options import TrainOptions, mrbcr_trainee
from otfuse.io import read_weights
from otfuse.nn import MRBCR

TINY = (
    "--steps", 2, "--epoch", 1, "--batch", 1, "--crop", 16, "--count", 3, "--size", 24,
    "--device", "cpu", "--threads", 1,
)  # fmt: skip


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, one_thread: None) -> CommandLine:
    return CommandLine(capsys, tmp_path)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return read_weights(next(folder.glob("state-*.safetensors")))[0]


def test_simulated_and_resumed(cli: CommandLine, psf: Path) -> None:
    words = ("--simulate", "mixed", "--psf", psf, *TINY)
    done = cli("train", "mrbcr", "-o", cli.folder / "run", *words)
    assert done.code == 0, done.err
    assert "3 pairs, the first 24 x 24" in done.out and "236630 weights" in done.out
    assert done.out.count("PSNR") == 2
    half = cli("train", "mrbcr", "-o", cli.folder / "half", *words, "--steps", 1)
    assert half.code == 0, half.err
    again = cli("train", "mrbcr", "-o", cli.folder / "half", *words, "--resume")
    assert again.code == 0, again.err
    for name, values in weights(cli.folder / "run").items():
        assert_same(weights(cli.folder / "half")[name], values, name)
    image = save(cli.folder / "in.tif", np.random.default_rng(1).uniform(0, 9, (1, 1, 1, 16, 16)))
    best = cli.folder / "run" / "best.safetensors"
    assert cli("predict", image, "-o", cli.folder / "out.tif", "--weights", best).code == 0
    cli("train", "mrbcr", "-o", cli.folder / "run", *words).failed(2, "give --resume")


def test_files(cli: CommandLine, rng: np.random.Generator) -> None:
    for folder in ("a", "b"):
        (cli.folder / folder).mkdir()
        for i in range(2):
            save(cli.folder / folder / f"{i}.tif", rng.uniform(0, 9, (1, 1, 1, 16, 20)))
    words = ("--input", cli.folder / "a", "--target", cli.folder / "b", *TINY, "--steps", 1)
    done = cli("train", "mrbcr", "-o", cli.folder / "run", *words, "--spectrum", "line")
    assert done.code == 0, done.err
    assert (cli.folder / "run" / "samples" / "step-000001.png").exists()


def test_frequency(cli: CommandLine, psf: Path) -> None:
    """The PSF blurs the specimens, and is inside the network that learns from them."""
    words = ("--simulate", "filaments", "--psf", psf, *TINY, "--steps", 1, "--channels", 4)
    done = cli("train", "mrbcr", "-o", cli.folder / "run", *words, "--frequency")
    assert done.code == 0, done.err
    best = MRBCR.from_pretrained(cli.folder / "run" / "best.safetensors")
    assert best.options == {"frequency": True, "channels": 4, "bands": 4, "psf": [7, 7]}
    assert float(best.body.psf0.sum()) == pytest.approx(1)


def test_two_processes(tmp_path: Path, psf: Path) -> None:
    """Torchrun: one run, one report, gradients averaged over crops that differ."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python",
        sys.executable, "-W", "ignore", "-m", "otfuse.cli", "train", "mrbcr",
        "-o", tmp_path / "run", "--simulate", "mixed", "--psf", psf, *TINY, "--steps", 1,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("PSNR") == 1 and done.stdout.count("weights, on cpu") == 1
    state = weights(tmp_path / "run")
    assert all(np.isfinite(values).all() for values in state.values())
    alone = subprocess.run(
        [str(word) for word in [*command[:3], "--nproc-per-node", "1", *command[5:]]]
        + ["--batch", "1", "--output", str(tmp_path / "alone")],
        capture_output=True, text=True, timeout=200, env=environment,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    first = "optimizer.body.head.0.weight.exp_avg"
    assert not np.array_equal(weights(tmp_path / "alone")[first], state[first])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "got neither"),
        (("--simulate", "mixed"), "--psf must be given"),
        (("--input", "a"), "--input and --target must be given together"),
        (("--input", "a", "--target", "b", "--simulate", "mixed"), "got both"),
        (("--input", "a", "--target", "b"), "folder must exist"),
        (("--simulate", "cats", "--psf", "PSF"), "specimen must be one of"),
        (("--simulate", "mixed", "--psf", "PSF", "--crop", 8), "--crop must be at least 16"),
        (("--simulate", "mixed", "--psf", "PSF", "--crop", 48), "crop of (48, 48)"),
        (("--simulate", "mixed", "--psf", "PSF", "--steps", 0), "steps must be at least 1"),
        (("--simulate", "mixed", "--psf", "PSF", "--validation", 0), "--validation must lie"),
        (("--simulate", "mixed", "--psf", "PSF", "--noise", -1), "--noise must be finite"),
        (("--simulate", "mixed", "--psf", "PSF", "--noise", "inf"), "--noise must be finite"),
        (("--simulate", "mixed", "--psf", "PSF", "--threads", 0), "--threads must be"),
        (("--simulate", "mixed", "--psf", "PSF", "--threads", 2000), "at most 1024, got 2000"),
        (("--simulate", "mixed", "--psf", "PSF", "--resume"), "must exist to resume"),
        (("--simulate", "mixed", "--psf", "PSF", "--precision", "mixed"), "full on cpu"),
        (("--simulate", "mixed", "--psf", "PSF", "--weights", "none"), "no .index file"),
    ],
)
def test_bad_options(cli: CommandLine, psf: Path, words: tuple, text: str) -> None:
    real = [psf if word == "PSF" else word for word in words]
    cli("train", "mrbcr", "-o", cli.folder / "run", *TINY, *real).failed(2, text)


def test_unknown_model(cli: CommandLine) -> None:
    cli("train", "unet", "-o", cli.folder / "run").failed(2, "--model must be one of")


@pytest.mark.cuda
def test_mixed_precision(cli: CommandLine, psf: Path) -> None:
    words = [*TINY]
    words[words.index("cpu")] = "cuda"
    done = cli(
        "train", "mrbcr", "-o", cli.folder / "run", "--simulate", "mixed", "--psf", psf, *words
    )
    assert done.code == 0, done.err
    assert "mixed precision" in done.out
    assert all(
        bool(torch.isfinite(torch.from_numpy(v)).all())
        for v in weights(cli.folder / "run").values()
    )


@pytest.mark.parametrize(
    ("shape", "shear", "typed", "expected"),
    [
        ((7, 7), 0.0, None, True),
        ((8, 8), 0.0, None, True),  # the centre at k // 2
        ((7, 7), 0.3, None, False),
        ((7, 9), 0.0, None, True),  # of two extents, but as wide along both axes
        ((7, 7), 0.3, True, True),
        ((7, 7), 0.0, False, False),
    ],
)
def test_crops_are_turned_where_the_psf_allows_it(
    shape: tuple[int, int], shear: float, typed: bool | None, expected: bool, tmp_path: Path
) -> None:
    y, x = np.indices(shape) - np.reshape([n // 2 for n in shape], (2, 1, 1))
    psf = np.exp(-(x**2 + y**2 + 2 * shear * x * y) / 2).astype(np.float32)
    save(tmp_path / "psf.tif", psf[None, None, None])
    options = TrainOptions(
        "mrbcr", tmp_path, psf=tmp_path / "psf.tif", frequency=True, channels=2, turn=typed
    )
    assert mrbcr_trainee(options)[1].turn is expected
    assert mrbcr_trainee(replace(options, frequency=False))[1].turn is (typed is not False)
