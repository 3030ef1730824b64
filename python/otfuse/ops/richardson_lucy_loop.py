# SPDX-License-Identifier: BSD-3-Clause
"""The CPU body of the loop, which the op and its backward pass both run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import engine_grid, field, is_double, triple
from otfuse.ops.fft_convolve import make_otf

TENSORS = (
    "Tensor image, Tensor kernel, Tensor? otf, Tensor estimate, Tensor? previous, Tensor floor"
)
SETTINGS = (
    "SymInt inner, SymInt[] grid, bool padded, SymInt[] kernel_offset, "
    "SymInt[] estimate_offset, "
    "float background, int n_iters, int first_iteration, bool momentum, bool weighted, "
    "bool resumable"
)


class LoopSettings(NamedTuple):
    """The loop's arguments that are not tensors, in the order of its schema."""

    inner: int  # item b of the batch is blurred with kernel (b // inner) % kernels
    grid: Sequence[int]
    padded: bool  # as in Windows
    kernel_offset: Sequence[int]
    estimate_offset: Sequence[int]  # the image lies at the origin
    background: float
    n_iters: int
    first_iteration: int  # iterations done before, for the momentum
    momentum: bool
    weighted: bool  # divide by H^T 1
    resumable: bool  # return both estimates in their window, and the I-divergence


def run_loop(
    image: Tensor,
    kernel: Tensor,
    otf: Tensor | None,
    estimate: Tensor,
    previous: Tensor | None,
    floor: Tensor,
    s: LoopSettings,
) -> tuple[Tensor, Tensor, Tensor]:
    """See otfuse::richardson_lucy."""
    if otf is None:
        otf = make_otf(kernel, s.grid, s.padded, s.kernel_offset)
    grid = engine_grid(s.grid, s.padded)
    origin = [0] * len(grid)
    floor = floor.contiguous()
    out, out_previous, divergence = empty_results(image, estimate, s)
    _C.richardson_lucy_cpu(
        is_double(image),
        triple(grid, 1),
        image.shape[0],
        field(image, origin, grid),
        otf.data_ptr(),
        kernel.shape[0],
        s.inner,
        field(estimate, s.estimate_offset, grid),
        None if previous is None else field(previous, s.estimate_offset, grid),
        field(out, s.estimate_offset if s.resumable else origin, grid),
        field(out_previous, s.estimate_offset, grid) if s.resumable and s.momentum else None,
        divergence.data_ptr() if s.resumable else 0,
        floor.data_ptr(),
        s.background,
        s.n_iters,
        s.first_iteration,
        s.momentum,
        s.weighted,
        torch.get_num_threads(),
    )
    return out, out_previous, divergence


def empty_results(
    image: Tensor, estimate: Tensor, s: LoopSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Room for the estimate, the previous estimate and the I-divergence; the last two may be 0."""
    shape = estimate.shape if s.resumable else image.shape
    return (
        image.new_empty(shape),
        image.new_empty(shape if s.resumable and s.momentum else (0,)),
        image.new_empty((image.shape[0], s.n_iters if s.resumable else 0), dtype=torch.float64),
    )
