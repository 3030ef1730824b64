# SPDX-License-Identifier: BSD-3-Clause
"""The published m-rBCR network, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, relu


def mrbcr(image: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return every stage of `otfuse.nn.MRBCR`: u, y, xi and z of the scales 0, 2 and 4.

    `image` has the shape (batch, 1, ny, nx), extents multiples of 4; `weights` is the module's
    state dict. Dtype and device are theirs.
    """

    def conv(name: str, *x: Tensor) -> Tensor:
        weight, bias = weights[f"body.{name}.weight"], weights[f"body.{name}.bias"]
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
        return conv2d(torch.cat(x, 1), weight, bias, padding=padding)

    def resize(x: Tensor, like: Tensor) -> Tensor:
        return interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)

    def fuse(name: str, a: Tensor, b: Tensor) -> Tensor:
        return conv(f"{name}.cross", relu(conv(f"{name}.point", a, b)))

    def branch(scale: int, x: Tensor) -> Tensor:
        for k in range(6):
            x = relu(conv(f"branch.{scale}.lines.{k}", x))
        for k in range(4):
            block, grown = f"branch.{scale}.blocks.{k}", x
            for i in range(3):
                a = relu(conv(f"{block}.a.{i}", grown))
                grown = torch.cat([grown, conv(f"{block}.b.{i}", a)], 1)
            x = torch.cat([conv(f"{block}.squeeze", grown), x], 1)
        return x

    s: dict[str, Tensor] = {}
    for scale, step in ((0, 1), (2, 2), (4, 4)):
        u = image[..., ::step, ::step]
        for k in range(12):
            u = relu(conv(f"pixel.{scale}.{k}", u))
        s[f"u{scale}"] = u
    u0, u2, u4 = s["u0"], s["u2"], s["u4"]
    r2, r4 = resize(u2, u0), resize(u4, u0)
    s["f0"] = fuse("fuse_pixel", u0, r2)
    s["f2"] = resize(fuse("fuse_pixel", r2, r4), u2)
    s["y4"] = conv("first.4", u4)
    s["y2"] = conv("first.2", u2, s["f2"])
    s["y0"] = conv("first.0", u0, s["f0"])
    s["xi4"] = branch(4, s["y4"])
    s["xi2"] = branch(2, fuse("fuse_branch", s["y2"], resize(s["xi4"], s["y2"])))
    s["xi0"] = branch(0, fuse("fuse_branch", s["y0"], resize(s["xi2"], s["y0"])))
    for scale in (0, 2, 4):
        s[f"z{scale}"] = conv(f"head.{scale}", s[f"xi{scale}"] + s[f"y{scale}"])
    return s
