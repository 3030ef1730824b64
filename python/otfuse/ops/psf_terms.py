# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::psf_terms: what an update of the PSF is made of; on the CPU, no derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import engine_grid, field, is_double, triple
from otfuse.ops._registry import operator, register_fake


@operator(
    "psf_terms",
    "(Tensor image, Tensor kernel, Tensor otf, Tensor estimate, Tensor floor, "
    "Tensor? background_map, float background, SymInt inner, SymInt[] grid, bool padded, "
    "SymInt[] kernel_offset, SymInt[] estimate_offset, bool lit) -> (Tensor, Tensor)",
)
def psf_terms(
    image: Tensor,
    kernel: Tensor,
    otf: Tensor,
    estimate: Tensor,
    floor: Tensor,
    background_map: Tensor | None,
    background: float,
    inner: int,
    grid: Sequence[int],
    padded: bool,
    kernel_offset: Sequence[int],
    estimate_offset: Sequence[int],
    lit: bool,
) -> tuple[Tensor, Tensor]:
    """X^T(image / (kernel x + background)), and X^T 1 if `lit`; each (batch, kernel...).

    X is the convolution with the estimate; both sums are over the pixels that were observed,
    where the image is not negative. Tensors are as those of otfuse::richardson_lucy.
    """
    grid = engine_grid(grid, padded)
    correction = image.new_empty((image.shape[0], *kernel.shape[1:]))
    light = torch.empty_like(correction if lit else correction[:0])
    origin, floor = [0] * len(grid), floor.contiguous()
    loop = _C.RichardsonLucy()
    loop.grid, loop.batch = triple(grid, 1), image.shape[0]
    loop.image, loop.estimate = field(image, origin, grid), field(estimate, estimate_offset, grid)
    loop.otf, loop.kernels, loop.inner = otf.data_ptr(), kernel.shape[0], inner
    loop.floor, loop.background = floor.data_ptr(), background
    if background_map is not None:
        loop.background_map = field(background_map, origin, grid)
    loop.out, loop.threads = field(correction, kernel_offset, grid), torch.get_num_threads()
    _C.psf_terms_cpu(is_double(image), loop, field(light, kernel_offset, grid) if lit else None)
    return correction, light


@register_fake("psf_terms")
def _(image: Tensor, kernel: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    correction = image.new_empty((image.shape[0], *kernel.shape[1:]))
    return correction, torch.empty_like(correction if rest[-1] else correction[:0])
