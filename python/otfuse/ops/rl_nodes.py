# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::rl_nodes: the loop with a PSF that varies along one axis; on the CPU, no derivative."""

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


@operator("rl_nodes", f"({TENSORS}, Tensor shares, {SETTINGS}) -> Tensor")
def rl_nodes(*arguments: Any) -> Tensor:
    """Estimates where the images are, (batch, spatial...).

    `kernel` holds one for each node along the first spatial axis, `shares` (nodes, extent of the
    estimate along it) how much of each place's light is theirs. The run is not resumable.
    """
    t, shares = LoopTensors(*arguments[:_N]), arguments[_N]
    s = LoopSettings(*arguments[_N + 1 :])
    otf, floor = make_otf(t.kernel, s.grid, s.padded, s.kernel_offset), t.floor.contiguous()
    loop, out = loop_arguments(t, s)
    line = loop.grid[-len(s.grid)]
    on_grid = shares.new_zeros(shares.shape[0], line)
    places = torch.arange(shares.shape[1], device=shares.device) + s.estimate_offset[0]
    on_grid[:, places % line] = shares
    loop.nodes, loop.shares, loop.kernels = shares.shape[0], on_grid.data_ptr(), 1
    loop.otf, loop.floor = otf.data_ptr(), floor.data_ptr()
    _C.richardson_lucy_cpu(is_double(t.image), loop)
    return out.estimate


@register_fake("rl_nodes")
def _(*arguments: Any) -> Tensor:
    return torch.empty_like(LoopTensors(*arguments[:_N]).image)
