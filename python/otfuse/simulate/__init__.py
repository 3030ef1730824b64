# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic specimens and what a microscope records of them; seeded, in plain torch."""

from .imaging import blur_and_noise, camera
from .specimens import beads, filaments, shells, specimen

__all__ = ["beads", "blur_and_noise", "camera", "filaments", "shells", "specimen"]
