# SPDX-License-Identifier: BSD-3-Clause
"""The options of `otfuse train`, and the networks and tasks that they make."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.cli._errors import UsageError
from otfuse.cli._options import check_threads
from otfuse.io import read_stack

_SAME_TURNED = 0.01  # of a PSF's maximum


@dataclass
class TrainOptions:
    """Arguments of `otfuse train` as they were typed."""

    model: str
    output: Path
    input: Path | None = None
    target: Path | None = None
    simulate: str | None = None
    psf: Path | None = None
    count: int = 32
    size: int = 256
    photons: float = 200.0
    background: float = 10.0
    read_noise: float = 0.0
    frequency: bool = False
    channels: int = 16
    bands: int = 4
    weights: Path | None = None
    spectrum: str = "plane"
    noise: float = 0.05
    turn: bool | None = None
    steps: int = 2000
    epoch: int = 100
    batch: int = 32
    crop: int = 128
    learning_rate: float = 1e-3
    patience: int = 10
    validation: float = 0.1
    precision: str = "auto"
    seed: int = 0
    resume: bool = False
    device: str = "auto"
    threads: int | None = None

    def check(self) -> None:
        """Refuse what is wrong whatever the files are."""
        if (self.input is None) != (self.target is None):
            raise UsageError("train: --input and --target must be given together")
        if (self.input is None) == (self.simulate is None):
            given = "both" if self.simulate else "neither"
            raise UsageError(
                f"train: data must come from --input and --target or from --simulate, got {given}"
            )
        if self.simulate and self.psf is None:
            raise UsageError(
                "train: --psf must be given with --simulate; otfuse psf writes one from the optics"
            )
        if not 0 < self.validation < 1:
            raise UsageError(
                f"train: --validation must lie between 0 and 1, got {self.validation:g}"
            )
        check_threads("train", self.threads)
        if not 0 <= self.noise < math.inf:
            raise UsageError(f"train: --noise must be finite and not negative, got {self.noise:g}")


def mrbcr_trainee(options: TrainOptions) -> tuple[Any, Any]:
    """An m-rBCR network and its task."""
    from otfuse.nn import MRBCR
    from otfuse.train import MrbcrTask

    if options.crop < 16:
        raise UsageError(f"train: --crop must be at least 16 pixels, got {options.crop}")
    if options.weights is not None:
        network = MRBCR.from_pretrained(options.weights)
    elif options.frequency:
        psf = None if options.psf is None else read_psf(options.psf, 2)
        network = MRBCR(frequency=True, psf=psf, channels=options.channels, bands=options.bands)
    else:
        network = MRBCR()
    turn, known = options.turn, dict(network.named_buffers()).get("body.psf0")
    if turn is None:
        turn = known is None or _turns_alike(known.numpy())
    return network, MrbcrTask(options.spectrum, options.noise, turn)


def _turns_alike(psf: np.ndarray) -> bool:
    """Whether a PSF, its centre at k // 2, is about the same flipped and rotated by 90 degrees."""
    reach, near = max(psf.shape) // 2, _SAME_TURNED * psf.max()
    square = np.zeros((2 * reach + 1,) * 2, psf.dtype)
    square[tuple(slice(reach - k // 2, reach - k // 2 + k) for k in psf.shape)] = psf
    alike = (square[:, ::-1], np.rot90(square))
    return all(np.abs(turned - square).max() <= near for turned in alike)


def sampling(path: Path) -> tuple[float, float, float]:
    """Edges of the voxels of a PSF's file, in units of dx; cubes where the file does not tell."""
    dz, dy, dx = read_stack(path, mmap=True).voxel
    if dz is None or dy is None or dx is None:
        return 1.0, 1.0, 1.0
    return dz / dx, dy / dx, 1.0


def read_psf(path: Path, ndim: int) -> np.ndarray:
    """The PSF of a file, its plane in focus where images are wanted, centred at k // 2."""
    from otfuse.psf import center, in_focus_slice

    stack = read_stack(path)
    nt, nc = stack.data.shape[:2]
    if nt * nc > 1:
        raise UsageError(f"train: psf must be one stack, got {nc} channels and {nt} time points")
    values = np.array(stack.data[0, 0], dtype=np.float32)
    if ndim == 2:
        values = np.asarray(in_focus_slice(values)) if len(values) > 1 else values[0]
    return np.asarray(center(values)[0])
