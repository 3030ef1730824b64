# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::rl_views: the loop on several views of one object; on the CPU, no derivative."""

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


@operator("rl_views", f"({TENSORS}, str joint, {SETTINGS}) -> Tensor")
def rl_views(*arguments: Any) -> Tensor:
    """Estimates on their whole window, (batch, spatial...).

    `image`, `kernel` and `background_map` hold those of the first view, then those of the next;
    `estimate` and `floor` one item for each object. `joint` is "additive", "multiplicative" or
    "sequential"; the acceleration "none" or "shb", from the first iteration on.
    """
    t, joint = LoopTensors(*arguments[:_N]), arguments[_N]
    s = LoopSettings(*arguments[_N + 1 :])
    loop, out = loop_arguments(t, s)
    loop.batch = t.estimate.shape[0]
    if loop.batch == 0:
        return out.estimate
    otf, floor = make_otf(t.kernel, s.grid, s.padded, s.kernel_offset), t.floor.contiguous()
    loop.views, loop.joint = t.image.shape[0] // loop.batch, joint
    loop.kernels = t.kernel.shape[0] // loop.views
    loop.otf, loop.floor = otf.data_ptr(), floor.data_ptr()
    _C.richardson_lucy_cpu(is_double(t.image), loop)
    return out.estimate


@register_fake("rl_views")
def _(*arguments: Any) -> Tensor:
    return torch.empty_like(LoopTensors(*arguments[:_N]).estimate)
