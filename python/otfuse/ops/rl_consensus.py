# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::rl_consensus: iterations on two halves of the photons; on the CPU, no derivative."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import field, is_double
from otfuse.ops._registry import operator, register_fake
from otfuse.ops.fft_convolve import make_otf
from otfuse.ops.richardson_lucy_loop import (
    SETTINGS,
    TENSORS,
    LoopSettings,
    LoopTensors,
    empty_results,
    loop_arguments,
)

_N = len(LoopTensors._fields)


@operator(
    "rl_consensus",
    f"({TENSORS}, Tensor second, float fewest, {SETTINGS}) -> (Tensor, Tensor, Tensor)",
)
def rl_consensus(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate, I-divergence and voxels of the image in consensus, both (batch, n_iters).

    `image` and `second` are the halves, `judged` is the whole, and the run is plain. One that is
    not resumable has no I-divergence. An item's ends after an iteration in which fewer than
    `fewest` agreed; of those that were left out there are -1.
    """
    t, second, fewest = LoopTensors(*arguments[:_N]), *arguments[_N : _N + 2]
    s = LoopSettings(*arguments[_N + 2 :])
    otf = make_otf(t.kernel, s.grid, s.padded, s.kernel_offset) if t.otf is None else t.otf
    loop, out = loop_arguments(t, s)
    agreed = out.divergence.new_full((t.image.shape[0], s.n_iters), -1)
    floor, loop.fewest = t.floor.contiguous(), fewest
    loop.second = field(second, [0] * len(s.grid), loop.grid[-len(s.grid) :])
    loop.agreed, loop.otf, loop.floor = agreed.data_ptr(), otf.data_ptr(), floor.data_ptr()
    _C.richardson_lucy_cpu(is_double(t.image), loop)
    return out.estimate, out.divergence, agreed


@register_fake("rl_consensus")
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    t, s = LoopTensors(*arguments[:_N]), LoopSettings(*arguments[_N + 2 :])
    out = empty_results(t.image, t.estimate, s)
    agreed = out.divergence.new_empty((t.image.shape[0], s.n_iters))
    return out.estimate, out.divergence, agreed
