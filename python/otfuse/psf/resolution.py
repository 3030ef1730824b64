# SPDX-License-Identifier: BSD-3-Clause
"""How much detail a PSF passes: its width at half height, and where its OTF ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .arrays import as_tensor, brightest, spline_matrix

# Points that a line through the peak is refined to, per voxel.
_FINER = 16


class Resolution(NamedTuple):
    """Width at half height and highest frequency, one per axis of the PSF."""

    fwhm: tuple[float, ...]
    cutoff: tuple[float, ...]


def resolution(
    psf: Any, voxel: Sequence[float] | None = None, *, level: float = 1e-3
) -> Resolution:
    """Return the full width at half maximum of a PSF and the cutoff of its OTF, along each axis.

    The width is that of the line through the brightest voxel, by a cubic spline. The cutoff is
    the highest frequency along an axis at which the OTF, whatever the frequencies along the
    others, is above `level` of its maximum: `2 na / wavelength` laterally, and axially the height
    of the OTF's wings, since a widefield OTF has none on the axis itself. The PSF is tapered
    towards its edges first, or their steps would look like high frequencies.

    Parameters
    ----------
    psf : array, shape (ky, kx) or (kz, ky, kx)
        PSF with its brightest point anywhere inside.
    voxel : sequence of float, optional
        Edges of a voxel, one per axis; 1 if not given, so that results are in voxels.
    level : float
        What of the OTF's maximum counts as nothing; above its noise for a measured PSF.

    Returns
    -------
    Resolution
        `fwhm`, in the unit of `voxel`, infinite along an axis on which the PSF does not fall to
        half its height; `cutoff`, in cycles per that unit, at most `1 / (2 voxel)`.

    Raises
    ------
    ValueError  if the PSF holds no light, or voxel or level are impossible.
    """
    light = as_tensor("resolution", psf, 1).detach().double()
    edges = (1.0,) * light.ndim if voxel is None else tuple(map(float, voxel))
    if len(edges) != light.ndim or not all(math.isfinite(d) and d > 0 for d in edges):
        raise ValueError(
            f"resolution: voxel must be {light.ndim} positive lengths, one per axis, got {voxel}"
        )
    if not 0 < level < 1:
        raise ValueError(f"resolution: level must be above 0 and below 1, got {level:g}")
    if not float(light.max()) > 0:
        raise ValueError("resolution: psf must hold some light, got no positive value")
    top = brightest(light)
    lines = (
        light[tuple(slice(None) if a == axis else i for a, i in enumerate(top))]
        for axis in range(light.ndim)
    )
    widths = [_fwhm(line) * edge for line, edge in zip(lines, edges, strict=True)]
    ends = [cutoff / edge for cutoff, edge in zip(_cutoffs(light, level), edges, strict=True)]
    return Resolution(tuple(widths), tuple(ends))


def _fwhm(line: Tensor) -> float:
    """Return the width at half height in voxels, infinite where one side does not fall so low."""
    if len(line) < 3:
        return math.inf
    fine = (spline_matrix(len(line), 1 / _FINER).to(line) @ line).tolist()
    top = max(range(len(fine)), key=fine.__getitem__)
    half = fine[top] / 2
    sides = []
    for side in (fine[top:], fine[top::-1]):
        low = next((i for i, value in enumerate(side) if value < half), None)
        if low is None:
            return math.inf
        sides.append(low - (half - side[low]) / (side[low - 1] - side[low]))
    return sum(sides) / _FINER


def _cutoffs(light: Tensor, level: float) -> list[float]:
    """Return the highest frequency of each axis, in cycles per voxel."""
    tapered = light
    for axis, n in enumerate(light.shape):
        taper = torch.hann_window(n + 2, periodic=False, dtype=light.dtype, device=light.device)
        tapered = tapered * taper[1:-1].reshape([-1 if a == axis else 1 for a in range(light.ndim)])
    otf = torch.fft.fftn(tapered).abs()
    passed = otf >= level * otf.max()
    ends = []
    for axis, n in enumerate(light.shape):
        others = [a for a in range(light.ndim) if a != axis]
        along = passed.amax(others) if others else passed
        ends.append(float((torch.fft.fftfreq(n, device=light.device).abs() * along).max()))
    return ends
