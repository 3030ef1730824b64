# SPDX-License-Identifier: BSD-3-Clause
"""PSF models of microscopes that image a plane at once, by diffraction integrals, and a Gaussian.

`scanning` has those of microscopes that focus their light.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import _optics as optics
from ._diffraction import radial_intensity
from ._optics import Aberration, Lens, Scalar
from ._radial import Radial
from ._render import Canvas

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
    coverslip_design: Scalar = 170.0,
    coverslip_index: Scalar = 1.515,
    vectorial: bool = False,
    pixel_integrated: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the PSF of a widefield microscope.

    The Gibson-Lanni model with a pupil of constant amplitude (Born and Wolf's where no layer
    aberrates), or its vectorial counterpart after Richards and Wolf. The axial zero is the stage
    position of least wavefront error, so spherical aberration changes the shape of the PSF and
    does not move it. Summed over an unbounded plane the light is the same in every plane: a
    widefield PSF does not decay along z.

    Parameters
    ----------
    shape : (kz, ky, kx)
        Extents of the PSF; `default_shape` proposes them. One plane is the PSF in focus.
    voxel : (dz, dy, dx)
        Edges of a voxel in micrometres.
    na, wavelength, immersion_index : float or 0-d Tensor
        Numerical aperture, emission wavelength in vacuum (micrometres), index of the medium
        between the objective and the coverslip.
    sample_index, depth : float or 0-d Tensor
        Index of the medium around the specimen, and how far below the coverslip (micrometres)
        the emitter lies in it. Without them the sample matches the immersion.
    coverslip, coverslip_design, coverslip_index : float or 0-d Tensor
        Thickness in use and thickness that the objective is made for (micrometres), index of the
        glass. Without `coverslip` it is as designed.
    vectorial : bool
        Polarisation, the aplanatic lens and Fresnel's transmission through the coverslip taken
        into account, for light of every polarisation and dipoles of every direction. It matters
        from an aperture of about 0.7 times the index on. An objective without coverslip has the
        `coverslip_index` of its immersion.
    pixel_integrated : bool
        The mean over each pixel's area instead of the value at its centre.
    dtype : torch.dtype
        Of the result; the model itself is computed in float64.
    device : torch.device, optional
        Where to compute; that of the first tensor among the parameters if not given.

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
    Gibson & Lanni 1992, J. Opt. Soc. Am. A 9, 154; Born & Wolf, section 8.8; Richards & Wolf 1959,
    Proc. R. Soc. A 253, 358; Torok & Varga 1997, Appl. Opt. 36, 2305.
    """
    canvas = Canvas.checked("widefield", shape, voxel, pixel_integrated)
    layers = Aberration(sample_index, depth, coverslip, coverslip_design, coverslip_index)
    lens = optics.lens("widefield", na, wavelength, immersion_index, layers, vectorial, device)
    return canvas.draw([detection(canvas, lens)], lens, dtype)


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
    coverslip_design: Scalar = 170.0,
    coverslip_index: Scalar = 1.515,
    vectorial: bool = False,
    pixel_integrated: bool = False,
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
    shape, voxel, na, wavelength, immersion_index, sample_index, depth, coverslip,
    coverslip_design, coverslip_index, vectorial, pixel_integrated, dtype, device
        As in `widefield`, for the detection objective.

    Returns
    -------
    Tensor, shape (kz, ky, kx), sum 1, centre at k // 2.  Differentiable in every optical parameter.

    Raises
    ------
    ValueError  if na exceeds immersion_index, or a value is physically impossible.

    Warns
    -----
    SphericalAberrationWarning  if na exceeds sample_index.
    """
    canvas = Canvas.checked("light_sheet", shape, voxel, pixel_integrated)
    layers = Aberration(sample_index, depth, coverslip, coverslip_design, coverslip_index)
    optics.positive("light_sheet", "sheet_thickness", sheet_thickness)
    lens = optics.lens("light_sheet", na, wavelength, immersion_index, layers, vectorial, device)
    return canvas.draw([detection_in_sheet(canvas, lens, sheet_thickness)], lens, dtype)


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
    dtype, device
        Of the result.

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
    """Return the diameter of the first dark ring in focus, `1.22 wavelength / na`, micrometres.

    Parameters
    ----------
    na, wavelength : float or Tensor
        Aperture, and wavelength in micrometres.
    """
    return 1.2196698912665045 * wavelength / na


def detection(canvas: Canvas, lens: Lens, margin: float = 0.0) -> Radial:
    """Return the intensity of one lens, `margin` (in v) farther than the canvas asks for."""
    v_max = canvas.reach(lens) + margin
    return Radial(radial_intensity(lens, v_max, canvas.heights(lens)), lens.v_per_length)


def detection_in_sheet(canvas: Canvas, lens: Lens, thickness: Scalar) -> Radial:
    """Return the intensity of one lens under a sheet of light."""
    wide = detection(canvas, lens)
    width = torch.as_tensor(thickness, dtype=torch.float64, device=lens.na.device)
    sheet = torch.exp2(-((2 * canvas.heights(lens) / width) ** 2))
    return Radial(wide.profile * sheet, wide.scale)
