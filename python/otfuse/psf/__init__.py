# SPDX-License-Identifier: BSD-3-Clause
"""Point spread functions: models from physics, and what is done to measured ones."""

from .arrays import center, crop, in_focus_slice, resample
from .extent import MODALITIES, default_shape, nyquist
from .models import airy_unit, confocal, gaussian, light_sheet, widefield

__all__ = [
    "MODALITIES",
    "airy_unit",
    "center",
    "confocal",
    "crop",
    "default_shape",
    "gaussian",
    "in_focus_slice",
    "light_sheet",
    "nyquist",
    "resample",
    "widefield",
]
