# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::rl_nodes: the loop with a PSF that varies; on the CPU, no derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import is_double
from otfuse.ops._registry import operator, register_fake
from otfuse.ops.fft_convolve import make_otf
from otfuse.ops.richardson_lucy_loop import (
    SETTINGS,
    TENSORS,
    LoopSettings,
    LoopTensors,
    loop_arguments,
)

_N = len(LoopTensors._fields)


@operator("rl_nodes", f"({TENSORS}, Tensor[] shares, {SETTINGS}) -> Tensor")
def rl_nodes(*arguments: Any) -> Tensor:
    """Estimates where the images are, (batch, spatial...).

    `kernel` holds one for each node of a grid, the last axis fastest; `shares` for each spatial
    axis (nodes, extent of the estimate) how much of each place's light is theirs. The run is not
    resumable.
    """
    t, shares = LoopTensors(*arguments[:_N]), arguments[_N]
    s = LoopSettings(*arguments[_N + 1 :])
    otf, floor = make_otf(t.kernel, s.grid, s.padded, s.kernel_offset), t.floor.contiguous()
    loop, out = loop_arguments(t, s)
    ends = zip(shares, s.estimate_offset, loop.grid[-len(shares) :], strict=True)
    lines = [_on_grid(*end) for end in ends]
    lines = [shares[0].new_ones(1, 1)] * (3 - len(lines)) + lines
    z, y, x = lines
    loop.nodes, loop.kernels = (z.shape[0], y.shape[0], x.shape[0]), 1
    loop.shares = (z.data_ptr(), y.data_ptr(), x.data_ptr())
    loop.otf, loop.floor = otf.data_ptr(), floor.data_ptr()
    _C.richardson_lucy_cpu(is_double(t.image), loop)
    return out.estimate


def _on_grid(lines: Tensor, offset: int, extent: int) -> Tensor:
    """Lines in their places on a periodic axis, 0 elsewhere."""
    out = lines.new_zeros(lines.shape[0], extent)
    out[:, (torch.arange(lines.shape[1], device=lines.device) + offset) % extent] = lines
    return out


@register_fake("rl_nodes")
def _(*arguments: Any) -> Tensor:
    return torch.empty_like(LoopTensors(*arguments[:_N]).image)
