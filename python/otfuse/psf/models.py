# SPDX-License-Identifier: BSD-3-Clause
"""PSF models: widefield, confocal and light sheet by the scalar Gibson-Lanni integral, Gaussian."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import _optics as optics
from ._diffraction import disc_mean, interpolate, radial_intensity
from ._optics import Aberration, Lens, Scalar

Shape = Sequence[int]
Voxel = Sequence[float]


def widefield(
    shape: Shape,
    voxel: Voxel,
    *,
    na: Scalar,
    wavelength: Scalar,
    immersion_index: Scalar = 1.515,
    sample_index: Scalar | None = None,
    depth: Scalar = 0.0,
    coverslip: Scalar | None = None,
    coverslip_design: float = 170.0,
    coverslip_index: float = 1.515,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the PSF of a widefield microscope.

    The scalar Gibson-Lanni model with a pupil of constant amplitude, intensity at the voxel
    centres. The axial zero is the stage position of least wavefront error, so spherical
    aberration changes the shape of the PSF and does not move it. Summed over an unbounded plane
    the light is the same in every plane: a widefield PSF does not decay along z.

    Parameters
    ----------
    shape : (kz, ky, kx)
        Extents of the PSF; `default_shape` proposes them.
    voxel : (dz, dy, dx)
        Edges of a voxel in micrometres.
    na, wavelength, immersion_index : float or 0-d Tensor
        Numerical aperture, emission wavelength in vacuum (micrometres), index of the medium
        between the objective and the coverslip.
    sample_index, depth : float or 0-d Tensor
        Index of the medium around the specimen, and how far below the coverslip (micrometres)
        the emitter lies in it. Without them the sample matches the immersion.
    coverslip, coverslip_design, coverslip_index : float
        Thickness in use and thickness that the objective is made for (micrometres), index of the
        glass. Without `coverslip` it is as designed.

    Returns
    -------
    Tensor, shape (kz, ky, kx), sum 1, centre at k // 2.  Differentiable in: na, wavelength,
    immersion_index, sample_index, depth, coverslip.

    Raises
    ------
    ValueError  if na exceeds immersion_index, or a value is physically impossible.

    Warns
    -----
    UserWarning  if na exceeds sample_index.

    References
    ----------
    Gibson & Lanni 1992, J. Opt. Soc. Am. A 9, 154; Born & Wolf, section 8.8.
    """
    aberration = Aberration(sample_index, depth, coverslip, coverslip_design, coverslip_index)
    extents, edges = optics.check_grid("widefield", shape, voxel)
    objective = optics.lens("widefield", na, wavelength, immersion_index, aberration, device)
    return _assemble(_quarter(extents, edges, objective), extents, objective, dtype)


def confocal(
    shape: Shape,
    voxel: Voxel,
    *,
    na: Scalar,
    wavelength: Scalar,
    excitation_wavelength: Scalar,
    pinhole: Scalar | None = None,
    immersion_index: Scalar = 1.515,
    sample_index: Scalar | None = None,
    depth: Scalar = 0.0,
    coverslip: Scalar | None = None,
    coverslip_design: float = 170.0,
    coverslip_index: float = 1.515,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the PSF of a confocal microscope: focused excitation times detection by a pinhole.

    `h(r, z) = h_excitation(r, z) * mean of h_emission(., z) over the pinhole around r`, both by
    the model of `widefield`.

    Parameters
    ----------
    excitation_wavelength : float or 0-d Tensor
        Wavelength of the laser in vacuum, micrometres.
    pinhole : float or 0-d Tensor
        Diameter of the pinhole projected into the object (divided by the magnification),
        micrometres; 0 is the limit of a point. Default: one Airy unit, `airy_unit(na, wavelength)`.
    shape, voxel, na, wavelength, immersion_index, sample_index, depth, coverslip
        As in `widefield`; wavelength is that of the emission.

    Returns
    -------
    Tensor, shape (kz, ky, kx), sum 1, centre at k // 2.  Differentiable in the optical parameters.

    Raises
    ------
    ValueError  if na exceeds immersion_index, or a value is physically impossible.

    References
    ----------
    Wilson & Sheppard 1984, Theory and Practice of Scanning Optical Microscopy.
    """
    aberration = Aberration(sample_index, depth, coverslip, coverslip_design, coverslip_index)
    extents, edges = optics.check_grid("confocal", shape, voxel)
    optics.check_wavelength("confocal", "excitation_wavelength", excitation_wavelength)
    emission = optics.lens("confocal", na, wavelength, immersion_index, aberration, device)
    if pinhole is None:
        pinhole = airy_unit(emission.na, emission.wavelength)
    optics.check_pinhole("confocal", pinhole)
    laser = torch.as_tensor(excitation_wavelength, dtype=torch.float64, device=emission.na.device)
    detected = _quarter(extents, edges, emission, pinhole)
    excited = _quarter(extents, edges, emission.at(laser))
    return _assemble(detected * excited, extents, emission, dtype)


def light_sheet(
    shape: Shape,
    voxel: Voxel,
    *,
    na: Scalar,
    wavelength: Scalar,
    sheet_thickness: Scalar,
    immersion_index: Scalar = 1.33,
    sample_index: Scalar | None = None,
    depth: Scalar = 0.0,
    coverslip: Scalar | None = None,
    coverslip_design: float = 170.0,
    coverslip_index: float = 1.515,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the PSF of a light-sheet microscope: widefield detection times a Gaussian sheet.

    `h(r, z) = h_widefield(r, z) * 2^(-(2 z / sheet_thickness)^2)`; the sheet is taken to be as
    thick over the whole field and to lie in the focus of the detection.

    Parameters
    ----------
    sheet_thickness : float or 0-d Tensor
        Full width at half maximum of the sheet along z, micrometres.
    shape, voxel, na, wavelength, immersion_index, sample_index, depth, coverslip
        As in `widefield`, for the detection objective.

    Returns
    -------
    Tensor, shape (kz, ky, kx), sum 1, centre at k // 2.  Differentiable in the optical parameters.

    Raises
    ------
    ValueError  if na exceeds immersion_index, or a value is physically impossible.
    """
    aberration = Aberration(sample_index, depth, coverslip, coverslip_design, coverslip_index)
    extents, edges = optics.check_grid("light_sheet", shape, voxel)
    optics.positive("light_sheet", "sheet_thickness", sheet_thickness)
    objective = optics.lens("light_sheet", na, wavelength, immersion_index, aberration, device)
    quarter = _quarter(extents, edges, objective)
    thickness = torch.as_tensor(sheet_thickness, dtype=torch.float64, device=quarter.device)
    heights = _heights(extents[0], edges[0], objective)
    sheet = torch.exp2(-((2 * heights / thickness) ** 2))[:, None, None]
    return _assemble(quarter * sheet, extents, objective, dtype)


def gaussian(
    shape: Shape,
    sigma: float | Sequence[float],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return a Gaussian PSF of any rank.

    Parameters
    ----------
    shape : sequence of int
        Extents of the PSF.
    sigma : float or one per axis
        Standard deviation in voxels; 0 is a delta along that axis.

    Returns
    -------
    Tensor, shape `shape`, sum 1, centre at k // 2.

    Raises
    ------
    ValueError  if sigma is negative, or not one number or one per axis.
    """
    extents = tuple(int(n) for n in shape)
    widths = tuple(sigma) if isinstance(sigma, Sequence) else (sigma,) * len(extents)
    if not extents or min(extents) < 1:
        raise ValueError(f"gaussian: shape must hold positive integers, got {tuple(shape)}")
    if len(widths) != len(extents) or not all(0 <= s < float("inf") for s in widths):
        raise ValueError(
            f"gaussian: sigma must be a number that is not negative, or {len(extents)} of them, "
            f"got {sigma}"
        )
    psf = torch.ones((), dtype=torch.float64, device=device)
    for n, width in zip(extents, widths, strict=True):
        place = torch.arange(n, dtype=torch.float64, device=device) - n // 2
        line = torch.exp(-0.5 * (place / width) ** 2) if width else (place == 0).double()
        psf = psf[..., None] * (line / line.sum())
    return psf.to(dtype)


def airy_unit(na: Scalar, wavelength: Scalar) -> Scalar:
    """Return the diameter of the first dark ring in focus, `1.22 wavelength / na`, micrometres."""
    return 1.2196698912665045 * wavelength / na


def _heights(planes: int, dz: float, objective: Lens) -> Tensor:
    """Return the stage positions that differ: all of them, or one side where the two are equal."""
    centre = planes // 2
    first = -centre if objective.aberrated else 0
    last = planes - 1 - centre if objective.aberrated else max(centre, planes - 1 - centre)
    steps = torch.arange(first, last + 1, dtype=torch.float64, device=objective.na.device)
    return steps * dz


def _quarter(
    extents: tuple[int, int, int],
    edges: tuple[float, float, float],
    objective: Lens,
    pinhole: Scalar | None = None,
) -> Tensor:
    """Return the intensity in one quadrant of the planes that differ: (z, y, x)."""
    heights = _heights(extents[0], edges[0], objective)
    y, x = (
        torch.arange(n // 2 + 1, dtype=torch.float64, device=heights.device) * d
        for n, d in zip(extents[1:], edges[1:], strict=True)
    )
    v = objective.wavenumber * objective.na * torch.hypot(y[:, None], x).flatten()
    v_max = float(v.detach().max())
    if pinhole is None or optics.plain(pinhole) == 0:
        profile = radial_intensity(objective, v_max, heights)
    else:
        radius = objective.wavenumber * objective.na * pinhole / 2
        profile = radial_intensity(objective, v_max + float(radius.detach()) + 1, heights)
        profile = disc_mean(profile, radius, v_max)
    return interpolate(profile, v).T.reshape(len(heights), len(y), len(x))


def _assemble(
    quarter: Tensor, extents: tuple[int, int, int], objective: Lens, dtype: torch.dtype
) -> Tensor:
    """Return the whole PSF, normalised, out of a quadrant of the planes that differ."""
    device = quarter.device
    z, y, x = (torch.arange(n, device=device) - n // 2 for n in extents)
    z = z + extents[0] // 2 if objective.aberrated else z.abs()
    y, x = y.abs(), x.abs()
    counts = [
        torch.bincount(index, minlength=n).to(quarter.dtype)
        for index, n in zip((z, y, x), quarter.shape, strict=True)
    ]
    total = torch.einsum("zyx,z,y,x->", quarter, *counts)
    quarter = (quarter / total).to(dtype)
    # Lines grow first: gathering along x is the slow one, y and z copy whole lines and planes.
    return quarter.index_select(2, x).index_select(1, y).index_select(0, z)
