# SPDX-License-Identifier: BSD-3-Clause
"""Batch normalisation as TensorFlow 1 does it without its fused kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-3) * weight + bias, per channel.

    Differs from `torch.nn.BatchNorm3d` in that the moving variance is of the biased kind, as the
    one that normalises is, and in the constants: epsilon 1e-3, and 0.01 of each batch moves in.

    Parameters
    ----------
    channels : int
        Extent of axis 1 of the input.
    """

    epsilon = 1e-3
    momentum = 0.01

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the batch in training, by the moving statistics otherwise."""
        if not self.training or x.numel() == 0:  # an empty batch has no statistics
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0,
                self.epsilon,
            )  # fmt: skip
        # With momentum 1 these two become the batch's own statistics.
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        normalised = nn.functional.batch_norm(
            x, mean, variance, self.weight, self.bias, True, 1.0, self.epsilon
        )
        n = x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * ((n - 1) / n), self.momentum)
        return normalised

    def affine(self) -> tuple[Tensor, Tensor]:
        """Factor and shift that the moving statistics amount to, each of shape (channels,)."""
        factor = self.weight * torch.rsqrt(self.running_var + self.epsilon)
        return factor, self.bias - self.running_mean * factor

    def extra_repr(self) -> str:
        """What `print` shows between the brackets."""
        return str(len(self.weight))
