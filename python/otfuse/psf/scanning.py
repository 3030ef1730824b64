# SPDX-License-Identifier: BSD-3-Clause
"""PSF models of microscopes that focus their light: confocal, spinning disk, two photons."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import _optics as optics
from ._diffraction import plane_light
from ._optics import Aberration, Lens, Scalar
from ._radial import Radial, disc_margin, disc_mean
from ._render import Canvas
from .models import Shape, Voxel, airy_unit, detection


def confocal(
    shape: Shape,
    voxel: Voxel,
    *,
    na: Scalar,
    wavelength: Scalar,
    excitation_wavelength: Scalar,
    pinhole: Scalar = 1.0,
    immersion_index: Scalar = 1.515,
    sample_index: Scalar | None = None,
    depth: Scalar = 0.0,
    coverslip: Scalar | None = None,
    coverslip_design: Scalar = 170.0,
    coverslip_index: Scalar = 1.515,
    vectorial: bool = False,
    pixel_integrated: bool = False,
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
        Diameter of the pinhole in Airy units of the emission: its diameter in the object (divided
        by the magnification) over `airy_unit(na, wavelength)`; 0 is the limit of a point.
    shape, voxel, na, wavelength, immersion_index, sample_index, depth, coverslip,
    coverslip_design, coverslip_index, vectorial, pixel_integrated, dtype, device
        As in `widefield`; wavelength is that of the emission.

    Returns
    -------
    Tensor, shape (kz, ky, kx), sum 1, centre at k // 2.  Differentiable in every optical parameter.

    Raises
    ------
    ValueError  if na exceeds immersion_index, or a value is physically impossible.

    Warns
    -----
    SphericalAberrationWarning  if na exceeds sample_index.

    References
    ----------
    Wilson & Sheppard 1984, Theory and Practice of Scanning Optical Microscopy.
    """
    canvas = Canvas.checked("confocal", shape, voxel, pixel_integrated)
    layers = Aberration(sample_index, depth, coverslip, coverslip_design, coverslip_index)
    optics.check_wavelength("confocal", "excitation_wavelength", excitation_wavelength)
    optics.check_pinhole("confocal", pinhole)
    lens = optics.lens("confocal", na, wavelength, immersion_index, layers, vectorial, device)
    factors = confocal_factors(canvas, lens, excitation_wavelength, pinhole)
    return canvas.draw(factors, lens, dtype)


def spinning_disk(
    shape: Shape,
    voxel: Voxel,
    *,
    na: Scalar,
    wavelength: Scalar,
    excitation_wavelength: Scalar,
    pinhole: Scalar = 1.0,
    pinhole_spacing: Scalar = 5.0,
    immersion_index: Scalar = 1.515,
    sample_index: Scalar | None = None,
    depth: Scalar = 0.0,
    coverslip: Scalar | None = None,
    coverslip_design: Scalar = 170.0,
    coverslip_index: Scalar = 1.515,
    vectorial: bool = False,
    pixel_integrated: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the PSF of a spinning-disk confocal microscope, its camera in the image plane.

    While the disk turns, a camera pixel sees its point of the object through each pinhole that
    passes, and the point is lit through the same pinhole and, out of focus, through the others:

        h(r, z) = h_emission(r, z) * sum_s a(r - s, z),   a = h_excitation (*) disc (*) disc

    over the places s of the pinholes. The neighbours, at every angle in turn, count as an even
    density outside the circle that is one pinhole's share of the disk. Their light does not
    decay along z: that is the haze of spinning-disk images.

    Parameters
    ----------
    excitation_wavelength : float or 0-d Tensor
        Wavelength of the laser in vacuum, micrometres.
    pinhole : float or 0-d Tensor
        Diameter of the pinholes in Airy units of the emission, as in `confocal`.
    pinhole_spacing : float or 0-d Tensor
        Distance between neighbours in pinhole diameters, on a hexagonal lattice: 5 for disks with
        holes of 50 micrometres every 250; `math.inf` for a disk without crosstalk.
    shape, voxel, na, wavelength, immersion_index, sample_index, depth, coverslip,
    coverslip_design, coverslip_index, vectorial, pixel_integrated, dtype, device
        As in `widefield`; wavelength is that of the emission.

    Returns
    -------
    Tensor, shape (kz, ky, kx), sum 1, centre at k // 2.  Differentiable in every optical parameter.

    Raises
    ------
    ValueError  if na exceeds immersion_index, or a value is physically impossible.

    Warns
    -----
    SphericalAberrationWarning  if na exceeds sample_index.

    References
    ----------
    Egner, Andresen & Hell 2002, J. Microsc. 206, 24 (the crosstalk); the formula is derived above.
    """
    canvas = Canvas.checked("spinning_disk", shape, voxel, pixel_integrated)
    layers = Aberration(sample_index, depth, coverslip, coverslip_design, coverslip_index)
    optics.check_wavelength("spinning_disk", "excitation_wavelength", excitation_wavelength)
    optics.positive("spinning_disk", "pinhole", pinhole)
    optics.check_spacing("spinning_disk", pinhole_spacing)
    lens = optics.lens("spinning_disk", na, wavelength, immersion_index, layers, vectorial, device)
    factors = disk_factors(canvas, lens, excitation_wavelength, pinhole, pinhole_spacing)
    return canvas.draw(factors, lens, dtype)


def two_photon(
    shape: Shape,
    voxel: Voxel,
    *,
    na: Scalar,
    excitation_wavelength: Scalar,
    immersion_index: Scalar = 1.33,
    sample_index: Scalar | None = None,
    depth: Scalar = 0.0,
    coverslip: Scalar | None = None,
    coverslip_design: Scalar = 170.0,
    coverslip_index: Scalar = 1.515,
    vectorial: bool = False,
    pixel_integrated: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the PSF of a two-photon microscope: the focus squared, all of the emission detected.

    `h(r, z) = h_excitation(r, z)^2`, the focus by the model of `widefield` (vectorial: of
    circularly polarised light).

    Parameters
    ----------
    excitation_wavelength : float or 0-d Tensor
        Wavelength of the laser in vacuum, micrometres.
    shape, voxel, na, immersion_index, sample_index, depth, coverslip, coverslip_design,
    coverslip_index, vectorial, pixel_integrated, dtype, device
        As in `widefield`.

    Returns
    -------
    Tensor, shape (kz, ky, kx), sum 1, centre at k // 2.  Differentiable in every optical parameter.

    Raises
    ------
    ValueError  if na exceeds immersion_index, or a value is physically impossible.

    Warns
    -----
    SphericalAberrationWarning  if na exceeds sample_index.

    References
    ----------
    Denk, Strickler & Webb 1990, Science 248, 73; Sheppard & Gu 1990, Optik 86, 104.
    """
    canvas = Canvas.checked("two_photon", shape, voxel, pixel_integrated)
    layers = Aberration(sample_index, depth, coverslip, coverslip_design, coverslip_index)
    light = excitation_wavelength
    optics.check_wavelength("two_photon", "excitation_wavelength", light)
    lens = optics.lens("two_photon", na, light, immersion_index, layers, vectorial, device)
    return canvas.draw(two_photon_factors(canvas, lens), lens, dtype)


def confocal_factors(
    canvas: Canvas, lens: Lens, excitation_wavelength: Scalar, pinhole: Scalar
) -> list[Radial]:
    """Return what a confocal PSF is the product of."""
    detected = _through_discs(canvas, lens, [_pinhole_radius(lens, lens, pinhole)])
    return [detected, detection(canvas, lens.at(excitation_wavelength))]


def disk_factors(
    canvas: Canvas, lens: Lens, excitation_wavelength: Scalar, pinhole: Scalar, spacing: Scalar
) -> list[Radial]:
    """Return what a spinning-disk PSF is the product of: one lens, and the light of all holes."""
    laser = lens.at(excitation_wavelength)
    hole = _pinhole_radius(laser, lens, pinhole)
    if math.isinf(optics.plain(spacing)):
        return [detection(canvas, lens), _through_discs(canvas, laser, [hole, hole])]
    # The circle that holds one pinhole of a hexagonal lattice.
    share = 2 * hole * spacing * math.sqrt(math.sqrt(0.75) / math.pi)
    own = _through_discs(canvas, laser, [hole, hole], disc_margin(share))
    everywhere = 2 * plane_light(laser) / share**2
    others = everywhere - disc_mean(own.profile, share, canvas.reach(laser))
    return [detection(canvas, lens), Radial(own.profile[: len(others)] + others, own.scale)]


def two_photon_factors(canvas: Canvas, lens: Lens) -> list[Radial]:
    """Return what a two-photon PSF is the product of."""
    focus = detection(canvas, lens)
    return [Radial(focus.profile, focus.scale, power=2)]


def _pinhole_radius(lens: Lens, emission: Lens, pinhole: Scalar) -> Tensor:
    """Return the radius of the pinhole as a v of `lens`."""
    return lens.v_per_length * airy_unit(emission.na, emission.wavelength) * pinhole / 2


def _through_discs(canvas: Canvas, lens: Lens, discs: list[Tensor], more: float = 0.0) -> Radial:
    """Return the intensity averaged over one disc after the other, radii in v, `more` v farther."""
    discs = [disc for disc in discs if float(disc.detach()) > 0]
    margins = [disc_margin(disc) for disc in discs]
    radial = detection(canvas, lens, more + sum(margins))
    profile = radial.profile
    for done, disc in enumerate(discs, 1):
        v_max = canvas.reach(lens) + more + sum(margins[done:])
        profile = disc_mean(profile, disc, v_max)
    return Radial(profile, radial.scale)
