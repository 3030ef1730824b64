# SPDX-License-Identifier: BSD-3-Clause
"""How fine a microscope must be sampled, and how large its PSF must be drawn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch

from . import _optics as optics
from ._optics import Lens
from ._radial import Radial
from ._render import Canvas
from .models import airy_unit, detection_in_sheet
from .scanning import confocal_factors, two_photon_factors

MODALITIES = ("widefield", "confocal", "spinningdisk", "twophoton", "lightsheet")
# Those whose finest detail comes from the focus of a laser.
_FOCUSED = ("confocal", "spinningdisk", "twophoton")

# Lateral extent that no PSF is drawn below, in pixels.
_LEAST = 15
# Radius that holds about 99 % of an Airy pattern's light, in units of wavelength / na.
_AIRY_REACH = 10.0
# A Gaussian sheet has fallen to 1/512 at 1.5 times its full width at half maximum.
_SHEET_REACH = 1.5
# A focused PSF is looked at within this many Airy units, and as many pinholes, of its axis.
_FOCUS_REACH = 20.0
# Radii that the energy is looked at.
_RADII = 400


def check_modality(function: str, modality: str) -> str:
    """Return the modality's one spelling, or refuse it."""
    name = modality.lower().replace("_", "").replace("-", "").replace(" ", "")
    if name not in MODALITIES:
        raise ValueError(
            f"{function}: modality must be one of {', '.join(MODALITIES)}, got {modality!r}"
        )
    return name


def nyquist(
    na: float, wavelength: float, immersion_index: float, modality: str = "widefield"
) -> tuple[float, float]:
    """Return the coarsest voxel edges (dz, dxy) that lose nothing, in micrometres.

    `dxy = wavelength / (4 na)` and `dz = wavelength / (2 n (1 - cos alpha))`, half as much where
    a laser is focused (confocal, spinning disk, two photons); the wavelength is that of the laser
    then.

    Parameters
    ----------
    na, wavelength, immersion_index : float
        Optics, the wavelength in micrometres.
    modality : one of MODALITIES
        Kind of microscope.

    Returns
    -------
    (float, float)  dz and dxy.

    Raises
    ------
    ValueError  if the optics are impossible or the modality unknown.
    """
    optics.check_objective("nyquist", na, wavelength, immersion_index)
    halved = 2.0 if check_modality("nyquist", modality) in _FOCUSED else 1.0
    axial = wavelength / (2 * (immersion_index - math.sqrt(immersion_index**2 - na**2)))
    return axial / halved, wavelength / (4 * na) / halved


def default_shape(
    image_shape: Sequence[int],
    voxel: Sequence[float],
    *,
    na: float,
    wavelength: float | None = None,
    immersion_index: float = 1.515,
    modality: str = "widefield",
    excitation_wavelength: float | None = None,
    pinhole: float = 1.0,
    sheet_thickness: float | None = None,
    energy: float = 0.98,
    **layers: Any,
) -> tuple[int, int, int]:
    """Return the extents (kz, ky, kx), all odd, that a PSF needs for an image of this shape.

    A widefield PSF, or that of a spinning disk, does not decay along z: it gets `2 nz - 1` planes,
    and laterally the geometric cone of the farthest of them, but no more than the image's longer
    side: what comes from a field of view away is an even haze. The others get the planes, then
    the radius, that hold `energy` of all their light within that reach. Laterally nothing beyond
    `2 n - 1` pixels can reach the image; there are at least 15.

    Parameters
    ----------
    image_shape : (nz, ny, nx)
        Extents of the image; a single plane has nz = 1.
    voxel : (dz, dy, dx)
        Edges of a voxel in micrometres.
    na, wavelength, immersion_index : float
        Optics, emission wavelength in micrometres (not needed for two photons).
    modality : one of MODALITIES
        Kind of microscope.
    excitation_wavelength, pinhole : float
        As in `confocal`; the laser is taken to be as the emission if not given.
    sheet_thickness : float, optional
        Light sheet: full width at half maximum, micrometres; without it as large as widefield.
    energy : float
        Fraction of the light to hold, above 0 and below 1.
    sample_index, depth, coverslip, coverslip_design, coverslip_index
        As in `widefield`.

    Returns
    -------
    (int, int, int)  odd extents.

    Raises
    ------
    ValueError  if the optics, the voxel, the shape or the energy are impossible.
    """
    extents = optics.check_shape("default_shape", "image_shape", image_shape)
    edges = optics.check_voxel("default_shape", "voxel", voxel)
    kind = check_modality("default_shape", modality)
    if not 0 < energy < 1:
        raise ValueError(f"default_shape: energy must be above 0 and below 1, got {energy:g}")
    light = wavelength or excitation_wavelength
    if light is None:
        raise ValueError("default_shape: wavelength must be given, got none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optics.SphericalAberrationWarning)  # the model will tell
        lens = optics.lens("default_shape", na, light, immersion_index, optics.Aberration(**layers))
    depth = (extents[0] - 1) * edges[0]
    side = max(n * d for n, d in zip(extents[1:], edges[1:], strict=True))
    if kind == "lightsheet" and sheet_thickness is not None:
        optics.positive("default_shape", "sheet_thickness", sheet_thickness)
        depth = min(depth, _SHEET_REACH * sheet_thickness)
        radius = min(side, _cone(depth, lens))
        canvas = _within(depth, radius, edges)
        factors = [detection_in_sheet(canvas, lens, sheet_thickness)]
        depth, radius = _holding(energy, factors, canvas, lens, radius)
    elif kind in ("confocal", "twophoton"):
        optics.check_pinhole("default_shape", pinhole)
        radius = min(side, _FOCUS_REACH * (1 + pinhole) * float(airy_unit(na, light)))
        canvas, laser = _within(depth, radius, edges), excitation_wavelength or light
        factors = (
            confocal_factors(canvas, lens, laser, pinhole)
            if kind == "confocal"
            else two_photon_factors(canvas, lens.at(laser))
        )
        depth, radius = _holding(energy, factors, canvas, lens, radius)
    else:
        radius = min(side / 2, _cone(depth, lens))
    planes = 2 * min(extents[0] - 1, math.ceil(depth / edges[0] - 1e-9)) + 1
    rows, columns = (
        max(_LEAST, 2 * min(n - 1, math.ceil(radius / d - 0.5 - 1e-9)) + 1)
        for n, d in zip(extents[1:], edges[1:], strict=True)
    )
    return planes, rows, columns


def _cone(depth: float, lens: Lens) -> float:
    """Return the radius of the geometric cone that far from focus, or of the focus itself."""
    na, index = float(lens.na), float(lens.immersion_index)
    # At na = immersion_index the cone opens to the whole half space.
    slope = na / math.sqrt(max(index**2 - na**2, 1e-12))
    return max(depth * slope, _AIRY_REACH * float(lens.wavelength) / na)


def _within(depth: float, radius: float, edges: tuple[float, float, float]) -> Canvas:
    """Return a canvas of that half depth, one line of pixels out to that radius."""
    planes = 2 * math.ceil(depth / edges[0] - 1e-9) + 1
    return Canvas((planes, 1, 2 * math.ceil(radius / edges[2]) + 1), edges, False)


def _holding(
    energy: float, factors: Sequence[Radial], canvas: Canvas, lens: Lens, radius: float
) -> tuple[float, float]:
    """Return the half depth and the radius that hold the energy, half of the loss for each."""
    radii = radius * (torch.arange(_RADII, dtype=torch.float64) + 0.5) / _RADII
    light = radii[:, None] * reduce(torch.mul, [f.at(radii) for f in factors])  # (radius, z)
    heights = canvas.heights(lens).abs()
    if not lens.aberrated:
        light = light * torch.where(heights > 0, 2.0, 1.0)
    order = torch.argsort(heights, stable=True)
    by_depth = light.sum(0)[order].cumsum(0)
    deep = int((by_depth < (1 + energy) / 2 * by_depth[-1]).sum())
    depth = float(heights[order][deep])
    by_radius = light[:, heights <= depth].sum(1).cumsum(0)
    wide = int((by_radius < energy * by_depth[-1]).sum())
    return depth, float(radii[min(wide, _RADII - 1)])
