# SPDX-License-Identifier: BSD-3-Clause
"""What the batching rules share: a mapped dimension becomes part of the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def mapped_first(array: Tensor, dim: int | None, size: int) -> Tensor:
    """The mapped dimension in front, at full size."""
    if dim is None:
        return array.unsqueeze(0).expand(size, *array.shape)
    return array.movedim(dim, 0)


def fold_kernels(
    kernel: Tensor,
    otf: Tensor | None,
    inner: int,
    dims: tuple[int | None, int | None],
    batch: int,
) -> tuple[Tensor, Tensor | None, int]:
    """Kernels, OTFs and `inner` for a batch that a mapped dimension was folded into."""
    if dims[0] is None:
        # Items repeat with the same period, so the same index finds the same kernel.
        return kernel, otf if dims[1] is None else None, inner
    # One kernel for each item of the enlarged batch says which belongs to which.
    kernel = kernel.movedim(dims[0], 0)
    index = torch.arange(batch, device=kernel.device) // inner % kernel.shape[1]
    return kernel[:, index].flatten(0, 1), None, 1
