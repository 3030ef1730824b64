# SPDX-License-Identifier: BSD-3-Clause
"""Pairs of what a microscope records and what it should have: from files, or simulated."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otfuse import _checks, simulate
from otfuse.io import read_stack

# Planes of the volume that a simulated image is the projection of.
_THICK = 16
SPECIMENS: dict[str, Callable[..., torch.Tensor]] = {
    "mixed": simulate.specimen,
    "filaments": simulate.filaments,
    "shells": simulate.shells,
    "beads": simulate.beads,
}
_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class Pairs:
    """Images or volumes and their targets, float32, all of one number of axes.

    Attributes
    ----------
    inputs, targets : sequence of ndarray
        Of one shape in pairs.
    """

    inputs: Sequence[np.ndarray]
    targets: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.inputs)

    def check(self, crop: Sequence[int]) -> None:
        """Refuse pairs that differ in shape, are not finite or too small for crops.

        Raises
        ------
        ValueError
        """
        for i, (x, y) in enumerate(zip(self.inputs, self.targets, strict=True)):
            if x.shape != y.shape:
                raise ValueError(
                    f"train: target must have the shape of its input, got {y.shape} and {x.shape} "
                    f"in pair {i + 1}"
                )
            if x.ndim != len(crop) or any(n < c for n, c in zip(x.shape, crop, strict=True)):
                raise ValueError(
                    f"train: images must be at least as large as a crop of {tuple(crop)}, got "
                    f"{x.shape} in pair {i + 1}; choose a smaller --crop"
                )
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                raise ValueError(
                    f"train: images must be finite, got NaN or infinity in pair {i + 1}"
                )

    def split(self, share: float, seed: int) -> tuple[Pairs, Pairs]:
        """Pairs to train on and pairs to validate with, at least one of each.

        Raises
        ------
        ValueError
            If there are fewer than two pairs.
        """
        n = len(self)
        if n < 2:
            raise ValueError(
                f"train: pairs must be at least 2, one of them to validate with, got {n}"
            )
        order = np.random.default_rng(seed).permutation(n)
        held = min(n - 1, max(1, round(share * n)))
        return self._take(order[held:]), self._take(order[:held])

    def _take(self, chosen: np.ndarray) -> Pairs:
        return Pairs([self.inputs[i] for i in chosen], [self.targets[i] for i in chosen])

    def crop(
        self, crop: Sequence[int], rng: np.random.Generator, which: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """A crop at a random place of one pair, a random one by default."""
        i = int(rng.integers(len(self))) if which is None else which
        x, y = self.inputs[i], self.targets[i]
        start = [int(rng.integers(n - c + 1)) for n, c in zip(x.shape, crop, strict=True)]
        place = tuple(slice(a, a + c) for a, c in zip(start, crop, strict=True))
        return x[place], y[place]


def paired_stacks(input_folder: str | Path, target_folder: str | Path, *, ndim: int) -> Pairs:
    """Pairs of TIFF files of one name in two folders.

    Parameters
    ----------
    input_folder, target_folder : str or Path
    ndim : {2, 3}
        2 takes every plane as an image, 3 every z-stack as a volume; channels and time points are
        always apart.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist, or a file has no partner.
    ValueError
        If there are no TIFF files, or two of a pair differ in extents.
    """
    names = [_names(Path(folder)) for folder in (input_folder, target_folder)]
    alone = sorted(set(names[0]) ^ set(names[1]))
    if alone:
        more = f" and {len(alone) - 1} more" * (len(alone) > 1)
        raise FileNotFoundError(
            errno.ENOENT,
            "train: every file must have one of its name in the other folder",
            f"{alone[0]}{more}",
        )
    if not names[0]:
        raise ValueError(f"train: folder must hold TIFF files, got none in {input_folder}")
    inputs: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for name in names[0]:
        x, y = (np.asarray(read_stack(Path(f) / name).data) for f in (input_folder, target_folder))
        if x.shape != y.shape:
            raise ValueError(
                f"train: target must have the extents of its input, got {y.shape} and {x.shape} "
                f"(t, c, z, y, x) for {name}"
            )
        for data, found in ((x, inputs), (y, targets)):
            found += list(data.astype(np.float32).reshape(-1, *data.shape[5 - ndim :]))
    return Pairs(inputs, targets)


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "train: folder must exist", str(folder))
    return sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)


def simulated_pairs(
    kind: str,
    count: int,
    shape: Sequence[int],
    psf: Any,
    *,
    photons: float = 200.0,
    background: float = 10.0,
    read_noise: float = 0.0,
    voxel: Sequence[float] = (1.0, 1.0, 1.0),
    seed: int = 0,
) -> Pairs:
    """Synthetic specimens, and what a camera records of them through a PSF.

    Parameters
    ----------
    kind : str
        One of `SPECIMENS`. As a volume, "mixed" is dots, spheres, rods, ellipsoids and hollow ones
        in random proportions (`simulate.phantoms`).
    count : int
        Pairs.
    shape : (ny, nx) or (nz, ny, nx)
        An image is the maximum projection of a specimen 16 planes thick.
    psf : array, as many axes as shape
        Centre at k // 2; scaled to sum to 1.
    photons : float
        Expected in the brightest voxel.
    background : float
        Photons expected everywhere.
    read_noise : float
        Standard deviation of the camera's noise, in photons.
    voxel : (dz, dy, dx)
        Edges of a voxel in any unit: specimens are as anisotropic as the sampling is.
    seed : int
        Decides specimens and noise.

    Returns
    -------
    Pairs  of photon counts and specimens between 0 and 1.

    Raises
    ------
    ValueError
        If the kind is unknown, or PSF and shape differ in their number of axes.
    """
    _checks.one_of("train", "specimen", kind, SPECIMENS)
    if not _checks.finite_number("train", "read_noise", read_noise) >= 0:
        raise ValueError(f"train: read_noise must not be negative, got {read_noise:g}")
    _checks.at_least("train", "count", count, 1)
    light = torch.as_tensor(psf, dtype=torch.float32)
    if light.ndim != len(shape):
        raise ValueError(
            f"train: psf must have {len(shape)} axes, got {light.ndim}; for images give its plane "
            "in focus"
        )
    _checks.light_psf("train", light, light.ndim)
    inputs, targets = [], []
    for i in range(count):
        number = seed * 1_000_003 + i
        truth = _specimen(kind, shape, number, voxel)
        image = simulate.blur_and_noise(truth, light / light.sum(), photons, background, number)
        noise = np.random.default_rng(number).standard_normal(image.shape, np.float32)
        inputs.append(image.numpy() + np.float32(read_noise) * noise)
        targets.append(truth.numpy())
    return Pairs(inputs, targets)


def _specimen(kind: str, shape: Sequence[int], seed: int, voxel: Sequence[float]) -> torch.Tensor:
    if len(shape) == 2:
        return SPECIMENS[kind]((_THICK, *shape), seed=seed, voxel=voxel).amax(0)
    if kind == "mixed":
        return simulate.phantoms(1, shape, seed=seed, voxel=voxel)[0]
    return SPECIMENS[kind](shape, seed=seed, voxel=voxel)
