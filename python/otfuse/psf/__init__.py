# SPDX-License-Identifier: BSD-3-Clause
"""Point spread functions: models from physics, and what is done to measured ones."""

from otfuse.functional._back_projector import back_projector

from ._optics import SphericalAberrationWarning
from .arrays import center, crop, crop_to_energy, in_focus_slice, resample
from .beads import BeadPsf, from_beads
from .depths import depth_series
from .extent import MODALITIES, default_shape, nyquist
from .models import airy_unit, gaussian, light_sheet, widefield
from .motion import combine, motion
from .resolution import Resolution, resolution
from .scanning import confocal, spinning_disk, two_photon

__all__ = [
    "BeadPsf",
    "MODALITIES",
    "Resolution",
    "SphericalAberrationWarning",
    "airy_unit",
    "back_projector",
    "center",
    "combine",
    "confocal",
    "crop",
    "crop_to_energy",
    "default_shape",
    "depth_series",
    "from_beads",
    "gaussian",
    "in_focus_slice",
    "light_sheet",
    "motion",
    "nyquist",
    "resample",
    "resolution",
    "spinning_disk",
    "two_photon",
    "widefield",
]
