# SPDX-License-Identifier: BSD-3-Clause
"""Counts as photons, and photons divided by lot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from otfuse import _checks


@dataclass(frozen=True)
class Camera:
    """Counts per photon, and counts without light."""

    gain: float
    offset: float

    @classmethod
    def checked(cls, function: str, gain: float, offset: float) -> Camera:
        """One that is possible: finite numbers, of which the gain is positive."""
        gain = _checks.finite_number(function, "gain", gain)
        if gain <= 0:
            raise ValueError(f"{function}: gain must be positive, got {gain:g}")
        return cls(gain, _checks.finite_number(function, "offset", offset))

    def photons(self, image: Tensor) -> Tensor:
        """Whole photons, none where the image lies below the offset."""
        return ((image - self.offset) / self.gain).round().clamp(min=0)

    def split(self, image: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
        """Two images of a share of the photons and of the rest, in counts without the offset.

        Each is scaled to all the photons. What Poisson noise gave is divided by lot: the two are
        independent (binomial thinning).
        """
        photons = self.photons(image)
        generator = torch.Generator(image.device).manual_seed(seed)
        first = torch.binomial(photons, torch.full_like(photons, share), generator)
        return first * (self.gain / share), (photons - first) * (self.gain / (1 - share))
