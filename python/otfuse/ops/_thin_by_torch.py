# SPDX-License-Identifier: BSD-3-Clause
"""The thin-channel ops in plain torch, for devices that the build has no kernels for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

_CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
)


def conv_thin(
    inputs: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    added: Tensor | None,
    activation: str,
) -> Tensor:
    """See otfuse::conv_thin."""
    x = inputs[0] if len(inputs) == 1 else torch.cat(list(inputs), 1)
    if added is not None:
        x = x + added
    padding = [k // 2 for k in weight.shape[2:]]
    out = _CONVOLUTIONS[weight.ndim - 3](x, weight, bias, padding=padding)
    if activation == "relu":
        out = out.relu_()
    elif activation == "softplus":
        out = functional.softplus(out, threshold=40)  # beyond it is its argument, to within 5e-18
    return out.contiguous()


def pixel_mlp(input: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """See otfuse::pixel_mlp."""
    x = input[..., None].flatten(2)
    for w, b in zip(weights, biases, strict=True):
        x = torch.baddbmm(b[:, None], w.expand(len(x), *w.shape), x).relu_()
    return x.reshape(*x.shape[:2], *input.shape[2:])
