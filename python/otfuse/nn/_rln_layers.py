# SPDX-License-Identifier: BSD-3-Clause
"""The convolutions of RLN: what they take and give, and what they begin with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# What each convolution takes and gives, by its number in the publication's code, for one view.
# The seventh is transposed, 2x2x2 with stride 2; the others are 3x3x3, and none has a bias.
CHANNELS = {
    1: (1, 4), 2: (4, 4), 3: (8, 4), 4: (1, 8), 5: (8, 8), 6: (16, 8), 7: (8, 4), 8: (4, 4),
    9: (1, 4), 10: (4, 4), 11: (1, 8), 12: (8, 8), 13: (1, 8), 14: (10, 8), 15: (16, 8),
}  # fmt: skip
_OF_THE_VIEWS = (1, 4, 9, 11)  # convolutions that see one channel a view
NORMALISED = (4, 4, 4, 1, 8, 8, 8, 4, 4, 1, 4, 4, 1, 8, 8, 1, 8)
NORMALISED_VIEWS = (3, 12)  # normalisations of the ratios, one channel a view
GAUSSIAN = (1, 2, 3, 9, 10)  # kernels that begin as Gaussians, of these widths
_SIGMAS = (2.0, 0.5, 1.0, 1.5)


def convolution(number: int, views: int) -> nn.Module:
    """The convolution of a number, for a network that sees so many channels."""
    taken, given = CHANNELS[number]
    taken = views if number in _OF_THE_VIEWS else taken
    if number == 7:
        return nn.ConvTranspose3d(taken, given, 2, stride=2, bias=False)
    return nn.Conv3d(taken, given, 3, padding=1, bias=False)


def gaussians(weight: Tensor) -> Tensor:
    """Kernels exp(-r^2 / 2 sigma^2), sigma by output channel, times a random factor each."""
    offset = torch.arange(-1.0, 2.0, dtype=weight.dtype, device=weight.device).square()
    distance = offset[:, None, None] + offset[:, None] + offset
    sigma = torch.tensor(_SIGMAS, dtype=weight.dtype, device=weight.device)
    kernels = torch.exp(distance / (-2 * sigma.square())[:, None, None, None])
    return kernels[:, None] * torch.rand_like(weight[..., :1, :1, :1])
