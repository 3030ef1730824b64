# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions of few channels, and the network of dense layers for each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_ACTIVATIONS = {
    "none": lambda t: t,
    "relu": F.relu,
    "softplus": lambda t: F.softplus(t, threshold=40),  # beyond it is t, to within 5e-18
}


def conv_thin(
    inputs: Tensor | Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    added: Tensor | None = None,
    activation: str = "none",
) -> Tensor:
    """Return `activation(bias + weight * (inputs side by side + added))`, zeros outside."""
    x = inputs if isinstance(inputs, Tensor) else torch.cat(list(inputs), 1)
    if added is not None:
        x = x + added
    padding = [k // 2 for k in weight.shape[2:]]
    result = _CONVOLUTIONS[weight.ndim - 3](x, weight, bias, padding=padding)
    return _ACTIVATIONS[activation](result)


def pixel_mlp(input: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Return the last layer's values, relu after each."""
    x = input[..., None].flatten(2)
    for w, b in zip(weights, biases, strict=True):
        x = F.relu(F.conv1d(x, w[:, :, None], b))
    return x.reshape(*x.shape[:2], *input.shape[2:])
