# SPDX-License-Identifier: BSD-3-Clause
"""The convolutions of m-rBCR: one place where a layer becomes a call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


def convolution(taken: int, given: int, kernel: int | tuple[int, int]) -> nn.Conv2d:
    """A layer that keeps the extents: stride 1, zeros beyond the edges, a bias."""
    layer = nn.Conv2d(taken, given, kernel, padding="same")
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def conv(layer: nn.Conv2d, *inputs: Tensor, relu: bool = False) -> Tensor:
    """One layer on its inputs side by side, in the order of its channels."""
    x = torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0]
    padding = [k // 2 for k in layer.kernel_size]
    y = conv2d(x, layer.weight, layer.bias, padding=padding)
    return y.relu_() if relu else y


def chain(layers: Sequence[nn.Conv2d], x: Tensor) -> Tensor:
    """Layers of 1x1 one after the other, each cut off at 0."""
    for layer in layers:
        x = conv(layer, x, relu=True)
    return x
