# SPDX-License-Identifier: BSD-3-Clause
"""The optical parameters of a PSF model: checked, in micrometres, as float64 scalars."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Scalar = float | Tensor

# No microscope looks at 10 um light or longer, and every wavelength in nanometres is above it.
_LONGEST_WAVELENGTH = 10.0


class SphericalAberrationWarning(UserWarning):
    """The aperture exceeds what the sample can carry: the PSF is aberrated and its rim weak."""


@dataclass(frozen=True)
class Aberration:
    """What lies between the specimen and the immersion medium."""

    sample_index: Scalar | None = None
    depth: Scalar = 0.0
    coverslip: Scalar | None = None
    coverslip_design: Scalar = 170.0
    coverslip_index: Scalar = 1.515


@dataclass(frozen=True)
class Lens:
    """Objective and emitter, as 0-d float64 tensors that may require a gradient."""

    na: Tensor
    wavelength: Tensor
    immersion_index: Tensor
    sample_index: Tensor | None  # None: nothing in the sample bends the rays
    depth: Tensor
    coverslip_excess: Tensor | None  # thickness beyond the design, None: as designed
    coverslip_index: Tensor
    vectorial: bool

    @property
    def wavenumber(self) -> Tensor:
        """Wavenumber in vacuum, radians per micrometre."""
        return 2 * math.pi / self.wavelength

    @property
    def v_per_length(self) -> Tensor:
        """The reduced radius v = k NA r of one micrometre."""
        return self.wavenumber * self.na

    def at(self, wavelength: Scalar) -> Lens:
        """Return the same objective for light of another wavelength."""
        light = torch.as_tensor(wavelength, dtype=torch.float64, device=self.na.device)
        return replace(self, wavelength=light)

    @property
    def aberrated(self) -> bool:
        """Whether the PSF can differ above and below the focus."""
        return self.sample_index is not None or self.coverslip_excess is not None


def lens(
    function: str,
    na: Scalar,
    wavelength: Scalar,
    immersion_index: Scalar,
    aberration: Aberration,
    vectorial: bool = False,
    device: torch.device | str | None = None,
) -> Lens:
    """Return the checked parameters; warn where the sample cannot hold the whole aperture."""
    check_objective(function, na, wavelength, immersion_index)
    check_aberration(function, na, aberration, vectorial)
    given = (na, wavelength, immersion_index, *vars(aberration).values())
    on = device or next((v.device for v in given if isinstance(v, Tensor)), None)

    def scalar(value: Scalar) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=on)

    sample = aberration.sample_index
    depth = aberration.depth
    bends = sample is not None and (
        _learned(sample, depth) or (plain(depth) > 0 and plain(sample) != plain(immersion_index))
    )
    cover, design = aberration.coverslip, aberration.coverslip_design
    thick = cover is not None and (_learned(cover, design) or plain(cover) != plain(design))
    return Lens(
        na=scalar(na),
        wavelength=scalar(wavelength),
        immersion_index=scalar(immersion_index),
        sample_index=scalar(sample) if sample is not None and bends else None,
        depth=scalar(depth),
        coverslip_excess=(scalar(cover) - scalar(design) if cover is not None and thick else None),
        coverslip_index=scalar(aberration.coverslip_index),
        vectorial=vectorial,
    )


def check_objective(function: str, na: Scalar, wavelength: Scalar, immersion_index: Scalar) -> None:
    """Refuse what no objective can be."""
    na, index = plain(na), plain(immersion_index)
    positive(function, "na", na)
    check_index(function, "immersion_index", index)
    if na > index:
        raise ValueError(
            f"{function}: na must not exceed immersion_index, got na {na:g} with immersion_index "
            f"{index:g}; oil has about 1.515, glycerol 1.47, water 1.33, air 1"
        )
    check_wavelength(function, "wavelength", wavelength)


def check_wavelength(function: str, name: str, value: Scalar) -> None:
    """Refuse wavelengths that are not positive or that are plainly given in nanometres."""
    value = plain(value)
    positive(function, name, value)
    if value > _LONGEST_WAVELENGTH:
        raise ValueError(
            f"{function}: {name} must be in micrometres and at most {_LONGEST_WAVELENGTH:g}, "
            f"got {value:g}; {value:g} nm is {value / 1000:g}"
        )


def check_pinhole(function: str, pinhole: Scalar) -> None:
    """Refuse a pinhole of negative diameter."""
    diameter = plain(pinhole)
    if not (math.isfinite(diameter) and diameter >= 0):
        raise ValueError(
            f"{function}: pinhole must be finite and not negative, got {diameter:g}; it is the "
            "diameter in Airy units, which airy_unit() gives in micrometres"
        )


def check_spacing(function: str, spacing: Scalar) -> None:
    """Refuse pinholes that overlap."""
    distance = plain(spacing)
    if not distance >= 1:
        raise ValueError(
            f"{function}: pinhole_spacing must be at least 1, got {distance:g}; it is the distance "
            "between the pinholes over their diameter"
        )


def check_aberration(
    function: str, na: Scalar, aberration: Aberration, vectorial: bool = False
) -> None:
    """Refuse impossible samples and coverslips; warn when the aperture exceeds the sample index."""
    na, depth = plain(na), plain(aberration.depth)
    if not (math.isfinite(depth) and depth >= 0):
        raise ValueError(f"{function}: depth must be finite and not negative, got {depth:g}")
    if aberration.sample_index is not None:
        sample = plain(aberration.sample_index)
        check_index(function, "sample_index", sample)
        if na > sample:
            warnings.warn(
                f"{function}: na {na:g} exceeds sample_index {sample:g}; the sample carries an "
                f"aperture of {sample:g} only, expect spherical aberration and a weaker rim",
                SphericalAberrationWarning,
                stacklevel=4,
            )
    elif depth > 0:
        raise ValueError(
            f"{function}: depth must come with sample_index, got depth {depth:g} and no "
            "sample_index; pass the refractive index of the medium that the specimen lies in"
        )
    if aberration.coverslip is not None:
        positive(function, "coverslip", aberration.coverslip)
        positive(function, "coverslip_design", aberration.coverslip_design)
    elif not vectorial:
        return
    glass = plain(aberration.coverslip_index)
    check_index(function, "coverslip_index", glass)
    if na >= glass:
        raise ValueError(
            f"{function}: coverslip_index must exceed na, got {glass:g} with na {na:g}; "
            "pass the index of the glass in use"
        )


def check_shape(function: str, name: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the three extents of a volume as positive ints."""
    extents = tuple(int(n) for n in shape)
    if len(extents) != 3 or min(extents) < 1 or any(int(n) != n for n in shape):
        raise ValueError(
            f"{function}: {name} must be three positive integers (z, y, x), got {tuple(shape)}"
        )
    return extents[0], extents[1], extents[2]


def check_voxel(function: str, name: str, voxel: Sequence[float]) -> tuple[float, float, float]:
    """Return the three edges of a voxel as positive floats."""
    edges = tuple(float(d) for d in voxel)
    if len(edges) != 3 or not all(math.isfinite(d) and d > 0 for d in edges):
        raise ValueError(
            f"{function}: {name} must be three positive lengths (z, y, x) in micrometres, "
            f"got {tuple(voxel)}"
        )
    return edges[0], edges[1], edges[2]


def positive(function: str, name: str, value: Scalar) -> None:
    """Refuse anything but a positive finite number."""
    value = plain(value)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{function}: {name} must be positive and finite, got {value:g}")


def check_index(function: str, name: str, value: Scalar) -> None:
    """Refuse refractive indices below that of vacuum."""
    value = plain(value)
    if not (math.isfinite(value) and value >= 1):
        raise ValueError(
            f"{function}: {name} must be a refractive index of at least 1, got {value:g}"
        )


def plain(value: Scalar) -> float:
    """Return the number in a parameter, whether or not it is a tensor that learns."""
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _learned(*values: Scalar) -> bool:
    return any(isinstance(v, Tensor) and v.requires_grad for v in values)
