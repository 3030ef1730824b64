# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic specimens and what a microscope records of them; seeded, in plain torch."""

from .bodies import beads, ellipsoids, rods, shells
from .imaging import blur_and_noise, camera, to_pixels
from .mixtures import KINDS, phantoms, specimen
from .nuclei import nuclei
from .points import dots, filaments

__all__ = [
    "KINDS",
    "beads",
    "blur_and_noise",
    "camera",
    "dots",
    "ellipsoids",
    "filaments",
    "nuclei",
    "phantoms",
    "rods",
    "shells",
    "specimen",
    "to_pixels",
]
