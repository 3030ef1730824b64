# SPDX-License-Identifier: BSD-3-Clause
"""Tensors as the core sees them: pointers, strides and a place on the periodic grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otfuse import _C


def triple(values: Sequence[int], fill: int) -> tuple[int, int, int]:
    """Values of 1 to 3 axes as (z, y, x)."""
    z, y, x = [fill] * (3 - len(values)) + [int(v) for v in values]
    return z, y, x


def engine_grid(grid: Sequence[int], padded: bool) -> list[int]:
    """The grid of a transform: as given, or where padding is harmless a fast one around it.

    Chosen inside the ops, so that tracing with unknown extents need not know it.
    """
    return [_C.next_fast_extent(int(n)) if padded else int(n) for n in grid]


def on_huge_pages(fresh: Tensor) -> Tensor:
    """The same tensor, which nothing was written to yet; on huge pages where it is large.

    To make ordinary pages for a result takes as long as several passes over it.
    """
    if fresh.device.type == "cpu":
        _C.use_huge_pages(fresh.data_ptr(), fresh.nbytes)
    return fresh


def field(array: Tensor, offset: Sequence[int], grid: Sequence[int]) -> _C.Field:
    """A (batch, spatial...) tensor whose first element lies at `offset`, modulo the grid."""
    wrapped = [int(o) % int(n) for o, n in zip(offset, grid, strict=True)]
    return _C.Field(
        array.data_ptr(),
        triple(array.stride()[1:], 0),
        array.stride(0),
        triple(wrapped, 0),
        triple(array.shape[1:], 1),
    )


def is_double(array: Tensor) -> bool:
    """Which of the core's two precisions a tensor has."""
    if array.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"otfuse: tensors must be float32 or float64, got {array.dtype}")
    return array.dtype == torch.float64
