# SPDX-License-Identifier: BSD-3-Clause
"""How fine a microscope must be sampled, and how large its PSF must be drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import _optics as optics
from .models import airy_unit

MODALITIES = ("widefield", "confocal", "lightsheet")

# Lateral extent that no PSF is drawn below, in pixels.
_LEAST = 15
# Radius that holds about 99 % of an Airy pattern's light, in units of wavelength / na.
_AIRY_REACH = 10.0
# Where the light of a confocal plane has fallen off: the radius of its cone in pinhole radii. Of
# excitation and detection the first is spread over the cone, so less is needed laterally.
_CONFOCAL_AXIAL = 16.0
_CONFOCAL_LATERAL = 8.0
# A Gaussian sheet has fallen to 1/512 at 1.5 times its full width at half maximum.
_SHEET_REACH = 1.5


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

    `dxy = wavelength / (4 na)` and `dz = wavelength / (2 n (1 - cos alpha))`, half as much for a
    confocal microscope, whose wavelength here is that of the excitation.

    Parameters
    ----------
    na, wavelength, immersion_index : float
        Optics, the wavelength in micrometres.
    modality : "widefield", "confocal" or "lightsheet"
        Kind of microscope.

    Returns
    -------
    (float, float)  dz and dxy.

    Raises
    ------
    ValueError  if the optics are impossible or the modality unknown.
    """
    optics.check_objective("nyquist", na, wavelength, immersion_index)
    halved = 2.0 if check_modality("nyquist", modality) == "confocal" else 1.0
    axial = wavelength / (2 * (immersion_index - math.sqrt(immersion_index**2 - na**2)))
    return axial / halved, wavelength / (4 * na) / halved


def default_shape(
    image_shape: Sequence[int],
    voxel: Sequence[float],
    *,
    na: float,
    wavelength: float,
    immersion_index: float = 1.515,
    modality: str = "widefield",
    pinhole: float | None = None,
    sheet_thickness: float | None = None,
) -> tuple[int, int, int]:
    """Return the extents (kz, ky, kx), all odd, that a PSF needs for an image of this shape.

    A widefield PSF does not decay along z: it gets `2 nz - 1` planes, and laterally the geometric
    cone of the farthest of them, but no more than the image's longer side: what comes from a
    field of view away is an even haze. The others end where their light does. Laterally nothing
    beyond `2 n - 1` pixels can reach the image; there are at least 15.

    Parameters
    ----------
    image_shape : (nz, ny, nx)
        Extents of the image; a single plane has nz = 1.
    voxel : (dz, dy, dx)
        Edges of a voxel in micrometres.
    na, wavelength, immersion_index : float
        Optics, emission wavelength in micrometres.
    modality : "widefield", "confocal" or "lightsheet"
        Kind of microscope.
    pinhole : float, optional
        Confocal: diameter of the pinhole in the object, micrometres; one Airy unit if not given.
    sheet_thickness : float, optional
        Light sheet: full width at half maximum, micrometres; without it as deep as widefield.

    Returns
    -------
    (int, int, int)  odd extents.

    Raises
    ------
    ValueError  if the optics, the voxel or the shape are impossible.
    """
    extents = optics.check_shape("default_shape", "image_shape", image_shape)
    dz, dy, dx = optics.check_voxel("default_shape", "voxel", voxel)
    optics.check_objective("default_shape", na, wavelength, immersion_index)
    kind = check_modality("default_shape", modality)
    # At na = immersion_index the cone opens to the whole half space.
    slope = na / math.sqrt(max(immersion_index**2 - na**2, 1e-12))
    depth = (extents[0] - 1) * dz
    spread = math.inf
    if kind == "confocal":
        airy = float(airy_unit(na, wavelength))
        core = ((airy if pinhole is None else pinhole) + airy) / 2
        depth = min(depth, max(_CONFOCAL_AXIAL * core / slope, wavelength / na**2))
        spread = _CONFOCAL_LATERAL * core
    elif kind == "lightsheet" and sheet_thickness is not None:
        optics.positive("default_shape", "sheet_thickness", sheet_thickness)
        depth = min(depth, _SHEET_REACH * sheet_thickness)
    radius = min(spread, max(depth * slope, _AIRY_REACH * wavelength / na))
    planes = 2 * min(extents[0] - 1, math.ceil(depth / dz - 1e-9)) + 1
    radius = min(radius, max(n * d for n, d in zip(extents[1:], (dy, dx), strict=True)) / 2)
    rows, columns = (
        max(_LEAST, 2 * min(n - 1, math.ceil(radius / d - 0.5 - 1e-9)) + 1)
        for n, d in zip(extents[1:], (dy, dx), strict=True)
    )
    return planes, rows, columns
