# SPDX-License-Identifier: BSD-3-Clause
"""The Richardson-Lucy Network, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, batch_norm, conv3d, conv_transpose3d, softplus

from .rl_pointwise import rl_ratio

Step = Callable[[Tensor, Tensor], Tensor]


def rln(
    image: Tensor,
    weights: Mapping[str, Tensor],
    *,
    denominator: float = 1e-4,
    gradients: str = "exact",
    training: bool = False,
) -> dict[str, Tensor]:
    """Return every stage of `otfuse.nn.RLN` by the name that the published code gives it.

    `weights` is the module's state dict. In `training`, batches are normalised by their own
    statistics and nothing is updated. Dtype and device are those of image and weights.
    """

    def conv(k: int, *x: Tensor) -> Tensor:
        return conv3d(torch.cat(x, 1), weights[f"conv.{k}.weight"], padding=1)

    def norm(k: int, x: Tensor) -> Tensor:
        mean, variance, scale, shift = (
            weights[f"norm.{k}.{name}"]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        if training:
            return batch_norm(x, None, None, scale, shift, True, 0.0, 1e-3)
        return batch_norm(x, mean, variance, scale, shift, False, 0.0, 1e-3)

    def soft(k: int, x: Tensor) -> Tensor:
        return softplus(norm(k, x))

    divide, multiply = _steps(denominator, gradients)
    s: dict[str, Tensor] = {}
    x, views = image, image.shape[1]
    skip = [1, 4 // views, 1, 1, 1]
    # Half resolution.
    s["xd"] = xd = avg_pool3d(x, 2)
    s["a1"] = a1 = soft(0, conv(1, xd))
    s["a2"] = a2 = soft(1, conv(2, a1))
    s["a3"] = a3 = soft(2, conv(3, a1, a2)) + softplus(xd).repeat(skip)
    s["ave_9"] = a3.mean(1, keepdim=True)
    s["temp_div"] = divide(xd, s["ave_9"].repeat(1, views, 1, 1, 1))
    s["temp_layer"] = norm(3, s["temp_div"])
    s["b4"] = b4 = soft(4, conv(4, s["temp_layer"]))
    s["b5"] = b5 = soft(5, conv(5, b4))
    s["b6"] = soft(6, conv(6, b5, b4))
    s["b7"] = soft(7, _doubled(s["b6"], weights["conv.7.weight"], x))
    s["b8"] = soft(8, conv(8, s["b7"]))
    s["ave_12"] = s["b8"].mean(1, keepdim=True)
    s["e"] = multiply(x.mean(1, keepdim=True), s["ave_12"])
    s["result_prelu_12_1"] = first = soft(9, s["e"])
    # Full resolution.
    s["d1"] = soft(10, conv(9, x))
    s["d2"] = soft(11, conv(10, s["d1"])) + softplus(x).repeat(skip)
    s["ave_1"] = s["d2"].mean(1, keepdim=True)
    s["EST_div"] = divide(x, s["ave_1"].repeat(1, views, 1, 1, 1))
    s["EST"] = norm(12, s["EST_div"])
    s["g1"] = soft(13, conv(11, s["EST"]))
    s["g2"] = soft(14, conv(12, s["g1"])) + 1
    s["ave_2"] = s["g2"].mean(1, keepdim=True)
    s["e2"] = multiply(first, s["ave_2"])
    s["Estimation"] = soft(15, s["e2"])
    s["h1"] = h1 = softplus(conv(13, s["Estimation"]))
    s["h2"] = h2 = softplus(conv(14, h1, s["Estimation"], first))
    s["h3"] = soft(16, conv(15, h1, h2))
    s["first"] = s["h3"].mean(1, keepdim=True)
    return s


def _doubled(b6: Tensor, weight: Tensor, image: Tensor) -> Tensor:
    """The transposed convolution onto the image's grid; 0 in the last plane of an odd extent."""
    whole = b6.new_zeros(b6.shape[0], weight.shape[1], *image.shape[2:])
    nz, ny, nx = (2 * n for n in b6.shape[2:])
    whole[..., :nz, :ny, :nx] = conv_transpose3d(b6, weight, stride=2)
    return whole


def _steps(denominator: float, gradients: str) -> tuple[Step, Step]:
    """Division and multiplication; "published" ones have the authors' derivatives."""

    def divide(a: Tensor, b: Tensor) -> Tensor:
        return rl_ratio(a, b, floor=denominator, mode="add")

    def divide_as_published(a: Tensor, b: Tensor) -> Tensor:
        ratio = divide(a.detach(), b.detach())
        return ratio + (a - a.detach()) - ratio.square() * (b - b.detach())

    def multiply_as_published(a: Tensor, b: Tensor) -> Tensor:
        return a.detach() * b + (a - a.detach())

    if gradients == "exact":
        return divide, torch.mul
    return divide_as_published, multiply_as_published
