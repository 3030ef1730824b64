# SPDX-License-Identifier: BSD-3-Clause
"""The m-rBCR network as its authors released it, layer for layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from otfuse.nn import _mrbcr_program
from otfuse.nn._layers import chain, conv, convolution

SCALES = (4, 2, 0)  # the coarsest first: a quarter, a half, all of the pixels
_DEPTH, _LINES, _BLOCKS, _UNITS = 12, 6, 4, 3
_WIDTH, _GROWTH = 32, 4
_WIDE = _WIDTH + _BLOCKS * _GROWTH


class Fusion(nn.Module):
    """Two inputs side by side through a 1x1 convolution, cut off at 0, and a 3x3 one."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.point = convolution(taken, given, 1)
        self.cross = convolution(given, given, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Both of one extent."""
        return conv(self.cross, conv(self.point, a, b, relu=True))


class DenseBlock(nn.Module):
    """Three pairs of 3x3 convolutions that each add four channels, and four to sum them up."""

    def __init__(self, taken: int) -> None:
        super().__init__()
        widths = [taken + i * _GROWTH for i in range(_UNITS + 1)]
        self.a = nn.ModuleList(convolution(n, _GROWTH, 3) for n in widths[:-1])
        self.b = nn.ModuleList(convolution(_GROWTH, _GROWTH, 3) for _ in range(_UNITS))
        self.squeeze = convolution(widths[-1], _GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Four channels more than x has, the new ones first."""
        parts = [x]
        for a, b in zip(self.a, self.b, strict=True):
            parts.append(conv(b, conv(a, *parts, relu=True)))  # type: ignore[arg-type]
        return torch.cat([conv(self.squeeze, *parts), x], 1)


class Branch(nn.Module):
    """One scale of the second stage: six convolutions along x, then four dense blocks."""

    def __init__(self, taken: int) -> None:
        super().__init__()
        self.lines = nn.ModuleList(
            convolution(_WIDTH if i else taken, _WIDTH, (1, 5)) for i in range(_LINES)
        )
        self.blocks = nn.ModuleList(DenseBlock(_WIDTH + i * _GROWTH) for i in range(_BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        """48 channels."""
        for line in self.lines:
            x = conv(line, x, relu=True)  # type: ignore[arg-type]
        for block in self.blocks:
            x = block(x)
        return x


class Published(nn.Module):
    """Two stages over three scales: a network for each pixel, then a small dense one.

    Strided picks of the image are what the coarser scales see; features go from scale to scale
    by bilinear interpolation. 236 630 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pixel = nn.ModuleDict(
            {
                str(s): nn.ModuleList(
                    convolution(_WIDTH if k else 1, _WIDTH, 1) for k in range(_DEPTH)
                )
                for s in SCALES
            }
        )
        self.fuse_pixel = Fusion(2 * _WIDTH, _WIDTH)
        self.first = nn.ModuleDict(
            {str(s): convolution(_WIDTH if s == 4 else 2 * _WIDTH, 1, 1) for s in SCALES}
        )
        self.branch = nn.ModuleDict({str(s): Branch(1 if s == 4 else _WIDE) for s in SCALES})
        self.fuse_branch = Fusion(1 + _WIDE, _WIDE)
        self.head = nn.ModuleDict({str(s): convolution(_WIDE, 1, 9) for s in SCALES})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Restore images of shape (batch, 1, ny, nx), extents multiples of 4."""
        if _mrbcr_program.fits(x):
            return _mrbcr_program.run(self, x)
        y0, y2, y4 = self.first_stage(x)
        xi4 = self.branch["4"](y4)
        xi2 = self.branch["2"](self.fuse_branch(y2, _twice(xi4)))
        xi0 = self.branch["0"](self.fuse_branch(y0, _twice(xi2)))
        z0, z2, z4 = (
            conv(self._layer("head", s), xi, added=y)
            for s, xi, y in ((0, xi0, y0), (2, xi2, y2), (4, xi4, y4))
        )
        return z0, z2, z4

    def first_stage(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the second stage sees of each scale, one channel each: (y0, y2, y4)."""
        u0, u2, u4 = (
            chain(list(self.pixel[str(s)]), x[..., ::step, ::step])  # type: ignore[call-overload]
            for s, step in ((0, 1), (2, 2), (4, 4))
        )
        r2, r4 = _twice(u2), _scaled(u4, 4)
        y4 = conv(self._layer("first", 4), u4)
        f2 = _scaled(self.fuse_pixel(r2, r4), 0.5)
        y2 = conv(self._layer("first", 2), u2, f2)
        y0 = conv(self._layer("first", 0), u0, self.fuse_pixel(u0, r2))
        return y0, y2, y4

    def _layer(self, kind: str, scale: int) -> nn.Conv2d:
        layer = self.get_submodule(f"{kind}.{scale}")
        assert isinstance(layer, nn.Conv2d)
        return layer


def _scaled(x: Tensor, factor: float) -> Tensor:
    return interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _twice(x: Tensor) -> Tensor:
    return _scaled(x, 2)


def keras_names() -> Iterator[tuple[str, str]]:
    """Layers of `Published` and the names that the released weights give them."""
    for s in SCALES:
        yield from ((f"pixel.{s}.{k}", f"dense_u{s}{k + 1}") for k in range(_DEPTH))
        yield from ((f"branch.{s}.lines.{k}", f"x{s}_conv1d_{k}") for k in range(_LINES))
        yield f"head.{s}", "ouput_0" if s == 0 else f"ouputs_{s}"
    number = 5  # the first five belong to a part that the released model leaves out
    for fuse, after in (("pixel", [f"first.{s}" for s in SCALES]), ("branch", [])):
        for layer in (f"fuse_{fuse}.point", f"fuse_{fuse}.cross", *after):
            yield layer, f"conv2d_{number}"
            number += 1
    for s in SCALES:
        for block in range(_BLOCKS):
            units = [f"{kind}.{i}" for i in range(_UNITS) for kind in "ab"]
            for unit in (*units, "squeeze"):
                yield f"branch.{s}.blocks.{block}.{unit}", f"conv2d_{number}"
                number += 1


def from_keras(name: str, tensor: np.ndarray) -> np.ndarray:
    """A variable in torch's layout: (out, in, ky, kx) of (ky, kx, in, out), (kx, in, out), ..."""
    if name.endswith("bias"):
        return tensor
    while tensor.ndim < 4:
        tensor = tensor[None]
    return np.ascontiguousarray(tensor.transpose(3, 2, 0, 1))
