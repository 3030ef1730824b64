# SPDX-License-Identifier: BSD-3-Clause
"""What is restored: specimens under a microscope whose model is not the one that restores.

The specimen is drawn on a finer grid than the camera's and beyond its field, blurred by the
vectorial model and integrated to pixels. Restorations get the scalar model at the camera's voxels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from otfuse import fft_convolve, psf, simulate

Shape = tuple[int, int, int]

VOXEL = (0.25, 0.1, 0.1)
FINE = (3, 3, 3)  # fine voxels in one of the camera's
MARGIN = (6, 16, 16)  # camera voxels beyond each face of the field that hold specimen too
BACKGROUND = 5.0  # photons
READ_NOISE = 1.0  # photons
_GAIN, _OFFSET = 2.0, 100.0
# The variance of the pollen's noise over its mean, the same in its dark and its bright parts.
_POLLEN_GAIN = 50.0

LENS = {"na": 1.2, "immersion_index": 1.33}
DEPTH = 5.0  # below the coverslip, in the sample
OPTICS: dict[str, dict[str, float]] = {
    "exact": {"wavelength": 0.525, "sample_index": 1.36},
    "off": {"wavelength": 0.525 * 1.05, "sample_index": 1.36 + 0.02},
}
MODALITIES: dict[str, tuple[Callable[..., Tensor], dict[str, float]]] = {
    "widefield": (psf.widefield, {}),
    "confocal": (psf.confocal, {"excitation_wavelength": 0.488}),
    "lightsheet": (psf.light_sheet, {"sheet_thickness": 2.0}),
}
# Lengths in micrometres; so many bodies in a cubic micrometre.
SPECIMENS: dict[str, tuple[Callable[..., Tensor], dict[str, Any], float | None]] = {
    "filaments": (simulate.filaments, {"seed": 11, "thickness": 0.15, "persistence": 5.0}, None),
    "shells": (simulate.shells, {"seed": 12, "radius": (0.8, 1.6), "wall": 0.15}, 0.015),
    "beads": (simulate.beads, {"seed": 13, "radius": (0.08, 0.08)}, 0.06),
    "nuclei": (simulate.nuclei, {"seed": 14, "radius": (1.2, 2.0), "grain": 0.5}, 0.008),
}


@dataclass(frozen=True)
class Scene:
    """A truth, and images of it that differ in their noise."""

    truth: Tensor  # photons, as if the PSF were a point
    voxel: tuple[float, ...]
    psfs: Mapping[str, Tensor]
    background: float
    wide: Callable[[int], Tensor]  # image of a seed, photons, of a larger field
    box: tuple[slice, ...]  # of the field in it
    wide_psf: Tensor  # for the larger field
    seeds: int | None = None  # as many as there are; None is any number
    gain: float = 1.0  # counts per photon

    def image(self, seed: int) -> Tensor:
        """Return what is restored."""
        return self.wide(seed)[self.box]


def shape_of(shape: Sequence[int], margin: Sequence[int], fine: Sequence[int]) -> Shape:
    """Return the fine extents of the field and its surroundings."""
    z, y, x = ((n + 2 * m) * f for n, m, f in zip(shape, margin, fine, strict=True))
    return z, y, x


@lru_cache(maxsize=3)
def fine_psf(modality: str, field: Shape, voxel: tuple[float, ...], depth: float) -> Tensor:
    """Return the vectorial PSF on the fine grid, as large as what the field can show of it."""
    draw, extra = MODALITIES[modality]
    lens: dict[str, Any] = {**LENS, **OPTICS["exact"], **extra, "depth": depth}
    planes, rows, columns = default_extents(modality, field, voxel)
    return draw((planes, rows, columns), voxel, vectorial=True, **lens)


def default_extents(
    modality: str, field: Sequence[int], voxel: Sequence[float]
) -> tuple[int, int, int]:
    """Return the extents that `default_shape` proposes for these optics."""
    sheet = MODALITIES["lightsheet"][1] if modality == "lightsheet" else {}
    wavelength = OPTICS["exact"]["wavelength"]
    return psf.default_shape(
        field, voxel, modality=modality, wavelength=wavelength, **LENS, **sheet
    )


def restoring_psf(modality: str, optics: str, shape: Sequence[int]) -> Tensor:
    """Return the scalar model's PSF at the camera's voxels."""
    draw, extra = MODALITIES[modality]
    extents = default_extents(modality, shape, VOXEL)
    return draw(extents, VOXEL, **LENS, **OPTICS[optics], **extra, depth=DEPTH)


def recorded(
    specimen: str,
    modality: str,
    shape: Shape,
    *,
    margin: Sequence[int] = MARGIN,
    fine: Sequence[int] = FINE,
    depth: float = DEPTH,
) -> tuple[Tensor, Tensor]:
    """Return the specimen and its light at the camera's voxels, surroundings included.

    The specimen is in the unit in which the PSF of the field, not that of the larger one, has
    the sum 1: a widefield PSF's share of light within so many planes is a matter of definition.
    """
    voxel = tuple(d / f for d, f in zip(VOXEL, fine, strict=True))
    field = shape_of(shape, margin, fine)
    draw, options, density = SPECIMENS[specimen]
    size = math.prod(n * d for n, d in zip(field, voxel, strict=True))
    count = {} if density is None else {"count": max(2, round(density * size))}
    truth = draw(field, voxel=voxel, **options, **count)
    kernel = fine_psf(modality, field, voxel, depth)
    # Zeros beyond the far faces, half a PSF wide, keep periodic images apart.
    pads = [side for k in reversed(kernel.shape) for side in (0, k // 2)]
    light = fft_convolve(torch.nn.functional.pad(truth, pads), kernel)
    light = light[tuple(slice(n) for n in field)]
    share = _share(kernel, default_extents(modality, shape, VOXEL), fine)
    return (
        simulate.to_pixels(truth, fine) * share,
        simulate.to_pixels(light, fine, planes="middle").clamp(min=0),
    )


def _share(kernel: Tensor, extents: Sequence[int], fine: Sequence[int]) -> float:
    """Return the part of a fine PSF's light that lies within so many of the camera's voxels."""
    box = []
    for k, n, f in zip(kernel.shape, extents, fine, strict=True):
        half = (n * f - 1) // 2
        box.append(slice(max(0, k // 2 - half), k // 2 + half + 1))
    return float(kernel[tuple(box)].sum() / kernel.sum())


def inner(shape: Sequence[int], margin: Sequence[int]) -> tuple[slice, ...]:
    """Return where the field lies in the larger one."""
    return tuple(slice(m, m + n) for n, m in zip(shape, margin, strict=True))


def photons_of(expected: Tensor, seed: int) -> Tensor:
    """Return what a camera's counts say the photons were: Poisson, read noise, rounding."""
    generator = torch.Generator(expected.device).manual_seed(seed)
    caught = torch.poisson(expected, generator=generator)
    counts = simulate.camera(
        caught, gain=_GAIN, offset=_OFFSET, read_noise=READ_NOISE, seed=seed + 1_000_000
    )
    return ((counts - _OFFSET) / _GAIN).clamp(min=0)


def simulated(specimen: str, modality: str, peak: float, shape: Shape) -> Scene:
    """Return a simulated scene, its brightest voxel at `peak` photons above the background."""
    truth, light = _recorded_once(specimen, modality, shape)
    box = inner(shape, MARGIN)
    scale = peak / float(light[box].max())
    expected = light * scale + BACKGROUND
    return Scene(
        truth=truth[box] * scale,
        voxel=VOXEL,
        psfs={name: restoring_psf(modality, name, shape) for name in OPTICS},
        background=BACKGROUND,
        wide=lambda seed: photons_of(expected, seed),
        box=box,
        wide_psf=restoring_psf(modality, "exact", expected.shape),
    )


_recorded_once = lru_cache(maxsize=16)(recorded)


def pollen(folder: Path) -> Scene:
    """Return the pollen grain of sdeconv: one noisy image as published, with the PSF it was made
    with, so that this one is kinder than the simulated scenes; the middle of the field.
    """
    import tifffile

    names = ("sdeconv_pollen", "sdeconv_pollen_psf", "sdeconv_pollen_poisson_noise_blurred")
    truth, kernel, image = (
        torch.from_numpy(tifffile.imread(folder / f"{name}.tif").astype("float32"))
        for name in names
    )
    box = (slice(None), *(slice(n // 4, n // 4 + n // 2) for n in image.shape[1:]))
    kernel, _ = psf.crop_to_energy(kernel, 0.9999)
    return Scene(
        truth=truth[box],
        voxel=(1.0, 1.0, 1.0),
        psfs={"exact": kernel},
        background=0.0,
        wide=lambda seed: image.clamp(min=0),
        box=box,
        wide_psf=kernel,
        seeds=1,
        gain=_POLLEN_GAIN,
    )
