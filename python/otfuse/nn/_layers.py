# SPDX-License-Identifier: BSD-3-Clause
"""The convolutions of m-rBCR: one place where a layer becomes a call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from otfuse.functional._devices import has_kernels
from otfuse.functional.conv_thin import conv_thin, pixel_mlp


def convolution(taken: int, given: int, kernel: int | tuple[int, int]) -> nn.Conv2d:
    """A layer that keeps the extents: stride 1, zeros beyond the edges, a bias."""
    layer = nn.Conv2d(taken, given, kernel, padding="same")
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def conv(
    layer: nn.Conv2d, *inputs: Tensor, relu: bool = False, added: Tensor | None = None
) -> Tensor:
    """One layer on its inputs side by side, in the order of its channels.

    `added` has one channel, which is added to every channel of the input.
    """
    if _fused(layer, inputs[0]):
        activation = "relu" if relu else "none"
        result: Tensor = conv_thin(
            inputs, layer.weight, layer.bias, added=added, activation=activation
        )
        return result
    x = torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0]
    x = x if added is None else x + added
    padding = [k // 2 for k in layer.kernel_size]
    y = conv2d(x, layer.weight, layer.bias, padding=padding)
    return y.relu_() if relu else y


def chain(layers: Sequence[nn.Conv2d], x: Tensor) -> Tensor:
    """Layers of 1x1 one after the other, each cut off at 0."""
    if _fused(layers[0], x):
        weights = [layer.weight.flatten(1) for layer in layers]
        result: Tensor = pixel_mlp(x, weights, [layer.bias for layer in layers])
        return result
    for layer in layers:
        x = conv(layer, x, relu=True)
    return x


def _fused(layer: nn.Conv2d, x: Tensor) -> bool:
    """Whether the fused kernels compute this: where the core does, if no gradient is asked for.

    What they save is the writing of what lies between layers, which a gradient needs.
    """
    learning = torch.is_grad_enabled() and (x.requires_grad or layer.weight.requires_grad)
    return has_kernels(x.device) and not learning
