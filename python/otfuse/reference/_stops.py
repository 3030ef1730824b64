# SPDX-License-Identifier: BSD-3-Clause
"""Photons divided by lot, and what they say about when to stop."""

from __future__ import annotations

import torch
from torch import Tensor

LATE = 50  # accelerated iterations at most of an estimate that others are compared with
PATIENCE = 1.3  # so many times the best number without a better one, and the best is taken
CONSENSUS = 0.01  # share of voxels that go on below which a run stops


def halves(
    image: Tensor, mask: Tensor | None, camera: tuple[float, float, int]
) -> tuple[Tensor, Tensor]:
    """Return images of two halves of the photons, scaled to all, without the offset.

    The camera is its gain, its offset, and the seed of the lots.
    """
    gain, offset, seed = camera
    photons = torch.round((image - offset) / gain).clamp(min=0)
    if mask is not None:
        photons = torch.where(mask, photons, 0.0)
    generator = torch.Generator().manual_seed(seed)
    first = torch.binomial(photons, torch.full_like(photons, 0.5), generator)
    return 2 * gain * first, 2 * gain * (photons - first)


def numbers(n_iters: int) -> list[int]:
    """Return the numbers of iterations that are looked at: each, then every seventh part."""
    found = [1]
    while found[-1] < n_iters:
        found.append(min(found[-1] + max(1, found[-1] // 7), n_iters))
    return found
