# SPDX-License-Identifier: BSD-3-Clause
"""Photons divided by lot, and what they say about when to stop."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _grids as grids

KEPT = 0.5  # share of the photons that a trial run may see
PATIENCE = 5  # iterations without a better one after which the best is taken
CONSENSUS = 0.01  # share of voxels that go on below which a run stops


def split(
    image: Tensor, mask: Tensor | None, camera: tuple[float, float, int], share: float
) -> tuple[Tensor, Tensor]:
    """Return images of a share of the photons and of the rest, scaled to all, without the offset.

    The camera is its gain, its offset, and the seed of the lots.
    """
    gain, offset, seed = camera
    photons = torch.round((image - offset) / gain).clamp(min=0)
    if mask is not None:
        photons = torch.where(mask, photons, 0.0)
    generator = torch.Generator().manual_seed(seed)
    first = torch.binomial(photons, torch.full_like(photons, share), generator)
    return gain / share * first, gain / (1 - share) * (photons - first)


def held_divergence(held: Tensor, mask: Tensor, expected: Tensor, ndim: int) -> Tensor:
    """Return the I-divergence of held-out photons from what is expected, per batch item."""
    terms = torch.xlogy(held, held / expected) - held + expected
    return torch.where(mask, terms, 0.0).sum(grids.axes(ndim))


def best_so_far(divergences: Tensor) -> tuple[int, bool]:
    """Return how many iterations were best, and whether to stop; items of a batch together."""
    total = divergences.reshape(-1, divergences.shape[-1]).sum(0)
    best = int(total.argmin())
    return best, len(total) - 1 - best >= PATIENCE
