# SPDX-License-Identifier: BSD-3-Clause
"""Images whose truth is known: specimens of ours, textures of photographs, folders of pairs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otfuse.psf import widefield
from otfuse.simulate import blur_and_noise
from otfuse.train import Pairs, paired_stacks, simulated_pairs

SETS = ("microscopy", "textures")
# Pixels of 0.1 micrometres under a dry objective: 3.3 pixels of full width at half maximum.
_VOXEL, _TAPS = (0.2, 0.1, 0.1), 25
_LENS = {"na": 0.8, "wavelength": 0.52, "immersion_index": 1.0}
_WRONG_NA = 1.0
# Photographs that scikit-image carries with it; each is in one part only.
_PICTURES = {
    "train": ("astronaut", "brick", "camera", "coffee", "grass", "rocket"),
    "validation": ("coins",),
    "test": ("cat", "gravel", "page"),
}


@dataclass(frozen=True)
class Data:
    """Three parts, the PSF where it is known, and the background in the images."""

    train: Any
    validation: Any
    test: Any
    psf: Any
    background: float


def _psf(na: float) -> np.ndarray:
    shape = (1, _TAPS, _TAPS)
    lens = {**_LENS, "na": na}
    plane = np.asarray(widefield(shape, _VOXEL, **lens))[0]
    return (plane / plane.sum()).astype(np.float32)


def true_psf() -> np.ndarray:
    """What blurs the images, (25, 25)."""
    return _psf(_LENS["na"])


def wrong_psf() -> np.ndarray:
    """That of an objective whose aperture is a quarter larger."""
    return _psf(_WRONG_NA)


def make_data(name: str, setting: Any, seed: int) -> Data:
    """The parts of one set; specimens, pictures and noise of no two parts are the same."""
    psf = true_psf()
    parts = {}
    for number, part in enumerate(("train", "validation", "test")):
        count = getattr(setting, part)
        of_part = 10 * seed + number
        if name == "microscopy":
            parts[part] = simulated_pairs(
                "mixed",
                count,
                (setting.size, setting.size),
                psf,
                photons=setting.photons,
                background=setting.background,
                seed=of_part,
            )
        else:
            parts[part] = _texture_pairs(part, count, setting, psf, of_part)
    return Data(parts["train"], parts["validation"], parts["test"], psf, setting.background)


def _texture_pairs(part: str, count: int, setting: Any, psf: np.ndarray, seed: int) -> Pairs:
    rng, inputs, targets = np.random.default_rng(seed), [], []
    pictures = [_picture(name) for name in _PICTURES[part]]
    for i in range(count):
        picture = pictures[i % len(pictures)]
        y, x = (int(rng.integers(n - setting.size + 1)) for n in picture.shape)
        truth = torch.from_numpy(picture[y : y + setting.size, x : x + setting.size].copy())
        image = blur_and_noise(
            truth,
            torch.from_numpy(psf),
            setting.photons,
            setting.background,
            1_000_003 * seed + i,
            boundary="reflect",
        )
        inputs.append(image.numpy())
        targets.append(truth.numpy())
    return Pairs(inputs, targets)


def _picture(name: str) -> np.ndarray:
    """A photograph in grey, between 0 and 1."""
    from skimage import color, data

    picture = np.asarray(getattr(data, name)(), dtype=np.float32) / 255
    grey = color.rgb2gray(picture) if picture.ndim == 3 else picture
    return np.ascontiguousarray(grey, dtype=np.float32)


def folder_data(inputs: Path, targets: Path, setting: Any, seed: int) -> Data:
    """Pairs of TIFFs: a fifth to test with, a tenth to validate with."""
    rest, test = paired_stacks(inputs, targets, ndim=2).split(0.2, seed)
    train, validation = rest.split(0.1, seed)
    return Data(train, validation, test, None, 0.0)
