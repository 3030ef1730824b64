# SPDX-License-Identifier: BSD-3-Clause
"""The published m-rBCR network as one call of the compiled core, for inference."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from otfuse.functional._devices import has_kernels
from otfuse.functional.thin_network import ThinProgram, thin_network

_SCALES = (0, 2, 4)
_DEPTH, _LINES, _BLOCKS, _UNITS = 12, 6, 4, 3
_WIDTH, _GROWTH = 32, 4
_WIDE = _WIDTH + _BLOCKS * _GROWTH


def fits(image: Tensor) -> bool:
    """Whether the core can take these images: where it computes, if nobody asks for gradients."""
    return has_kernels(image.device) and not torch.is_grad_enabled()


def run(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(z0, z2, z4) for images (batch, 1, ny, nx), extents multiples of 4.

    Computed on the transposed image: there the convolutions along x run along rows, where the core
    filters them with half the multiplications, and every other kernel may lie either way.
    """
    layers, code = _program()
    parameters = {
        name: p.detach().mT if p.ndim == 4 else p.detach() for name, p in network.named_parameters()
    }
    for scale in _SCALES:
        for k in range(_BLOCKS):
            _split(parameters, f"branch.{scale}.blocks.{k}", _WIDTH + k * _GROWTH)
    z0, z2, z4 = thin_network(image.mT, code, layers, parameters)
    return z0.mT, z2.mT, z4.mT


@cache
def _program() -> tuple[list[str], list[int]]:
    program = ThinProgram()
    u0, u2, u4 = (_pixels(program, level) for level in range(3))
    r2, r4 = program.resize(u2, 0), program.resize(u4, 0)
    y4 = program.conv("first.4", [u4], 1)
    f2 = program.resize(_fused(program, "fuse_pixel", [r2, r4], _WIDTH), 1)
    y2 = program.conv("first.2", [u2, f2], 1)
    y0 = program.conv("first.0", [u0, _fused(program, "fuse_pixel", [u0, r2], _WIDTH)], 1)
    outputs: list[int] = []
    above: list[int] = []  # the coarser scale's branch, at the extents of this one
    for scale, level, y in zip(_SCALES[::-1], (2, 1, 0), (y4, y2, y0), strict=True):
        x = _fused(program, "fuse_branch", [y, *above], _WIDE) if above else y
        parts = _branch(program, scale, x)
        outputs.insert(0, program.conv(f"head.{scale}", parts, 1, added=y))
        if level > 0:
            above = [program.resize(part, level - 1) for part in parts]
    return program.layers, program.code(outputs)


def _pixels(program: ThinProgram, level: int) -> int:
    scale = _SCALES[level]
    image = program.image if level == 0 else program.pick(program.image, level)
    return program.pixel_mlp([f"pixel.{scale}.{k}" for k in range(_DEPTH)], image, _WIDTH)


def _fused(program: ThinProgram, name: str, sources: list[int], channels: int) -> int:
    point = program.conv(f"{name}.point", sources, channels, activation="relu")
    return program.conv(f"{name}.cross", [point], channels)


def _branch(program: ThinProgram, scale: int, x: int) -> list[int]:
    """Buffers that side by side are the 48 channels of a branch."""
    name = f"branch.{scale}"
    for k in range(_LINES):
        x = program.conv(f"{name}.lines.{k}", [x], _WIDTH, activation="relu")
    parts = [x]
    for k in range(_BLOCKS):
        block, grown = f"{name}.blocks.{k}", list(parts)
        shared = program.conv(
            f"{block}.shared", parts, _UNITS * _GROWTH, activation="relu", activated=_GROWTH
        )
        for i in range(_UNITS):
            a = program.part(shared, i * _GROWTH, _GROWTH)
            if i > 0:
                added = grown[len(parts) :]
                a = program.conv(f"{block}.own.{i}", added, _GROWTH, activation="relu", start=a)
            grown.append(program.conv(f"{block}.b.{i}", [a], _GROWTH))
        parts = [program.conv(f"{block}.squeeze", grown, _GROWTH), *parts]
    return parts


def _split(parameters: dict[str, Tensor], block: str, channels: int) -> None:
    """What a dense block's units take of the block's input becomes one layer, `shared`.

    The input is then read once and not once for each unit; `own` is what a unit takes of the
    units before it. The first unit has nothing else and is done, the others start from theirs.
    """
    units = [f"{block}.a.{i}" for i in range(_UNITS)]
    weights = [parameters[f"{unit}.weight"] for unit in units]
    biases = [parameters[f"{unit}.bias"] for unit in units]
    parameters[f"{block}.shared.weight"] = torch.cat([w[:, :channels] for w in weights])
    parameters[f"{block}.shared.bias"] = torch.cat(biases)
    for i in range(1, _UNITS):
        parameters[f"{block}.own.{i}.weight"] = weights[i][:, channels:]
        parameters[f"{block}.own.{i}.bias"] = torch.zeros_like(biases[i])
