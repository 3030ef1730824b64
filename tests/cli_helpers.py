# SPDX-License-Identifier: BSD-3-Clause
"""A small stack and PSF on disk, and the command line run in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otfuse.cli import main
from otfuse.io import Stack, write_stack

VOXEL = (0.3, 0.1, 0.1)
OPTICS = ["--na", "1.2", "--wavelength", "0.52", "--immersion-index", "1.33"]
MODEL = [*OPTICS, "--voxel", "0.3,0.1,0.1"]


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    def failed(self, code: int, *words: str) -> None:
        """One line on stderr with these words, no traceback, and this exit code."""
        assert self.code == code, self
        assert self.err.startswith("error: ") and self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.out + self.err
        for word in words:
            assert word in self.err, self.err


class CommandLine:
    """Runs `otfuse` with arguments and captures what it prints."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys, self.folder = capsys, folder

    def __call__(self, *words: Any) -> Outcome:
        self._capsys.readouterr()
        code = main([str(word) for word in words])
        seen = self._capsys.readouterr()
        return Outcome(code, seen.out, seen.err)

    def deconvolve(self, image: Path, *words: Any, out: str = "out.tif") -> Outcome:
        """`otfuse deconvolve IMAGE -o out.tif`, three iterations unless the words say otherwise."""
        iters = () if "--iters" in words else ("--iters", "3")
        return self("deconvolve", image, "-o", self.folder / out, *iters, *words)


def lopsided_psf(shape: tuple[int, ...] = (5, 7, 7)) -> np.ndarray:
    """Brightest at k // 2 and symmetric about nothing else."""
    axes = [np.arange(k) - k // 2 for k in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    psf = np.exp(-sum(g**2 / (2.0 + 0.3 * i) for i, g in enumerate(grid)))
    psf = psf * (1 + 0.1 * np.tanh(grid[-1]))
    return (psf / psf.sum()).astype(np.float32)


def counts(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Photon counts of a few bright spots over a camera offset of 100, (t, c, z, y, x)."""
    rng = np.random.default_rng(seed)
    spots = np.where(rng.random(shape) > 0.98, 3000.0, 0.0)
    for axis in (2, 3, 4):
        spots = (spots + np.roll(spots, 1, axis) + np.roll(spots, -1, axis)) / 3
    return rng.poisson(100 + spots).astype(np.uint16)


def save(path: Path, data: np.ndarray, **meaning: Any) -> Path:
    """Write (t, c, z, y, x) as float32 with its axes named."""
    meaning.setdefault("voxel", VOXEL)
    write_stack(path, data.astype(np.float32), like=Stack(data, "", "", **meaning))
    return path
