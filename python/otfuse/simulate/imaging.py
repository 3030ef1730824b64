# SPDX-License-Identifier: BSD-3-Clause
"""From a specimen to what a camera records of it: blur, photon noise, counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from otfuse.functional import fft_convolve

from ._draw import generator, normal


def blur_and_noise(
    truth: Tensor,
    psf: Tensor,
    peak_photons: float,
    background: float = 0.0,
    seed: int = 0,
    *,
    boundary: str = "zero",
) -> Tensor:
    """Return Poisson photon counts of a specimen seen through a PSF.

    `image ~ Poisson(peak_photons * (H truth) / max(H truth) + background)`.

    Parameters
    ----------
    truth : Tensor, shape (..., nz, ny, nx)
        Concentration of the dye, not negative; the scale does not matter.
    psf : Tensor, shape (kz, ky, kx)
        Centre at k // 2.
    peak_photons : float
        Expected photons in the brightest voxel of each volume, background not counted.
    background : float
        Photons expected everywhere.
    seed : int
        The same seed gives the same noise.
    boundary : "zero", "circular", "reflect" or "extended"
        What lies outside the truth: nothing; its periodic or mirrored continuation; or, for
        "extended", the truth is larger than the image, n + k - 1 voxels.

    Returns
    -------
    Tensor  of truth's type, photons, whole numbers.

    Raises
    ------
    ValueError  if truth is negative or dark, or a number of photons is impossible.
    """
    for name, value in (("peak_photons", peak_photons), ("background", background)):
        if not (math.isfinite(value) and value >= 0) or (name == "peak_photons" and value == 0):
            rule = "positive" if name == "peak_photons" else "not negative"
            raise ValueError(f"blur_and_noise: {name} must be finite and {rule}, got {value:g}")
    if bool((truth < 0).any()):
        raise ValueError(
            f"blur_and_noise: truth must not be negative, lowest value {float(truth.min()):g}"
        )
    axes = tuple(range(-psf.ndim, 0))
    # Rounding of the transform leaves tiny negative values, which have no Poisson law.
    light = _blur(truth, psf, boundary).clamp(min=0)
    peak = light.amax(axes, keepdim=True)
    if not bool((peak > 0).all()):
        raise ValueError("blur_and_noise: truth must hold some light in each volume, got none")
    expected = light * (peak_photons / peak) + background
    return torch.poisson(expected, generator=generator(seed, expected.device))


def camera(
    photons: Tensor,
    *,
    gain: float = 1.0,
    offset: float = 100.0,
    read_noise: float = 1.5,
    bits: int = 16,
    seed: int = 0,
) -> Tensor:
    """Return the counts that a camera reports for detected photons.

    `counts = round(gain * (photons + read_noise * normal) + offset)`, cut off at 0 and where the
    converter saturates, `2^bits - 1`.

    Parameters
    ----------
    photons : Tensor
        Detected photons, for instance from `blur_and_noise`.
    gain : float
        Counts per photon.
    offset : float
        Counts in the dark.
    read_noise : float
        Standard deviation of the electronics, in photons.
    bits : int
        Bits of the converter.
    seed : int
        The same seed gives the same noise.

    Returns
    -------
    Tensor  of the shape and type of photons, whole numbers.

    Raises
    ------
    ValueError  if gain is not positive, read_noise negative or bits not in 1 to 24.
    """
    if not (math.isfinite(gain) and gain > 0):
        raise ValueError(f"camera: gain must be positive and finite, got {gain:g}")
    if not (math.isfinite(read_noise) and read_noise >= 0):
        raise ValueError(f"camera: read_noise must be finite and not negative, got {read_noise:g}")
    if not 1 <= bits <= 24:
        raise ValueError(f"camera: bits must lie in 1 to 24, got {bits}")
    noise = normal(generator(seed, photons.device), *photons.shape).to(photons.dtype)
    counts = gain * (photons + read_noise * noise) + offset
    return counts.round().clamp(0, 2**bits - 1)


def to_pixels(light: Tensor, factors: Sequence[int], *, planes: str = "mean") -> Tensor:
    """Return a finely sampled volume on coarser voxels, as a camera's pixels integrate light.

    Parameters
    ----------
    light : Tensor, shape (..., nz, ny, nx)
        Intensity or concentration on the fine grid.
    factors : (fz, fy, fx)
        How many fine voxels make a coarse one along each axis; they divide the extents.
    planes : "mean" or "middle"
        Along z, the mean over the fine planes (what a voxel of the specimen holds) or the middle
        one of them (where the focus of a camera stack lies; fz is odd then).

    Returns
    -------
    Tensor, shape (..., nz / fz, ny / fy, nx / fx): means over the fine voxels of each coarse one.

    Raises
    ------
    ValueError  if the factors do not divide the extents, or planes is unknown.
    """
    steps = tuple(int(f) for f in factors)
    extents = tuple(light.shape[-3:])
    if len(steps) != 3 or len(extents) != 3 or min(steps) < 1:
        raise ValueError(f"to_pixels: factors must be three positive integers, got {factors}")
    if any(n % f for n, f in zip(extents, steps, strict=True)):
        raise ValueError(
            f"to_pixels: factors must divide the extents {extents}, got {steps}; crop the volume"
        )
    if planes not in ("mean", "middle"):
        raise ValueError(f"to_pixels: planes must be 'mean' or 'middle', got {planes!r}")
    if planes == "middle" and steps[0] % 2 == 0:
        raise ValueError(
            f"to_pixels: factors must be odd along z with planes='middle', got {steps[0]}"
        )
    split = [side for n, f in zip(extents, steps, strict=True) for side in (n // f, f)]
    blocks = light.reshape(*light.shape[:-3], *split).mean((-3, -1))
    return blocks.mean(-3) if planes == "mean" else blocks[..., steps[0] // 2, :, :]


def _blur(truth: Tensor, psf: Tensor, boundary: str) -> Tensor:
    if boundary != "zero":
        return fft_convolve(truth, psf, boundary=boundary)
    margins = [pad for k in reversed(psf.shape) for pad in (k - 1 - k // 2, k // 2)]
    return fft_convolve(torch.nn.functional.pad(truth, margins), psf, boundary="extended")
