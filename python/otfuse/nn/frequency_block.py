# SPDX-License-Identifier: BSD-3-Clause
"""A layer that mixes channels by symbols of the frequency, next to a shortcut."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from otfuse import _checks
from otfuse.functional.spectral_mix import STAGES, spectral_mix

# softplus(e) at the start of an inverse stage: frequencies that the optics pass at less than
# half of full strength are not raised much further.
_REGULARIZATION = 0.3


class FrequencyBlock(nn.Module):
    """`relu(spectral_mix(x) + bias + skip(x))`, for images or volumes that are periodic.

    Parameters
    ----------
    taken, given : int
        Channels of input and output; the shortcut is the identity where they are equal, and a
        1x1 convolution otherwise.
    bands : int
        Octaves that have symbols of their own.
    ndim : {2, 3}
    stage : {"free", "adjoint", "inverse"}
        See `otfuse.spectral_mix`; the latter two need a PSF in `forward`.
    """

    def __init__(
        self, taken: int, given: int, *, bands: int = 4, ndim: int = 2, stage: str = "free"
    ) -> None:
        super().__init__()
        for name, value in (("taken", taken), ("given", given), ("bands", bands)):
            _checks.at_least("FrequencyBlock", name, value, 1)
        _checks.one_of("FrequencyBlock", "ndim", ndim, (2, 3))
        _checks.one_of("FrequencyBlock", "stage", stage, STAGES)
        self.stage = stage
        deviation = 0.5 / math.sqrt(taken)
        self.weight = nn.Parameter(deviation * torch.randn(bands, 1 + ndim, given, taken))
        self.bias = nn.Parameter(torch.zeros(given))
        self.regularization: nn.Parameter | None = None
        if stage == "inverse":
            self.regularization = nn.Parameter(
                torch.full((bands,), math.log(math.expm1(_REGULARIZATION)))
            )
        convolution = nn.Conv2d if ndim == 2 else nn.Conv3d
        self.skip: nn.Module = nn.Identity() if taken == given else convolution(taken, given, 1)

    def forward(self, x: Tensor, psf: Tensor | None = None) -> Tensor:
        """Mix (batch, taken, ...) to (batch, given, ...)."""
        mixed: Tensor = spectral_mix(
            x,
            self.weight,
            bias=self.bias,
            psf=psf if self.stage != "free" else None,
            stage=self.stage,
            regularization=self.regularization,
        )
        return torch.relu(mixed + self.skip(x))

    def extra_repr(self) -> str:
        """What `print` shows between the brackets."""
        bands, parts, given, taken = self.weight.shape
        return f"{taken}, {given}, bands={bands}, ndim={parts - 1}, stage={self.stage!r}"
