# SPDX-License-Identifier: BSD-3-Clause
"""The two pointwise steps of Richardson-Lucy."""

from __future__ import annotations

import torch
from torch import Tensor

from ._grids import working


def rl_ratio(
    image: Tensor,
    reblurred: Tensor,
    background: float | Tensor = 0.0,
    *,
    floor: float = 1e-6,
    mode: str = "clamp",
) -> Tensor:
    """Return `image / max(reblurred + background, floor)`; see `otfuse.rl_ratio`.

    With `mode="add"` it is `image / (reblurred + background + floor)`, 0 where that divisor is 0.
    """
    image = working(image)
    expected = torch.as_tensor(reblurred).to(image.dtype) + background
    if mode == "clamp":
        return image / expected.clamp(min=floor)
    if mode == "add":
        divisor = expected + floor
        empty = divisor == 0
        return (image / divisor.masked_fill(empty, 1.0)).masked_fill(empty, 0.0)
    raise ValueError(f"rl_ratio: mode must be 'clamp' or 'add', got {mode!r}")


def rl_update(estimate: Tensor, correction: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return `estimate * correction * weight`; see `otfuse.rl_update`."""
    updated = working(estimate) * torch.as_tensor(correction)
    return updated if weight is None else updated * torch.as_tensor(weight)
