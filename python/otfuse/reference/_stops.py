# SPDX-License-Identifier: BSD-3-Clause
"""When to stop: what the I-divergence says, and photons divided by lot."""

from __future__ import annotations

import torch
from torch import Tensor

REPORT_EVERY = 5
FLAT = 1e-4  # relative fall of the I-divergence per iteration at which stop="idiv" ends
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


def flat(i_divergence: list[Tensor]) -> bool:
    """Return whether every batch item's I-divergence has all but stopped falling."""
    if len(i_divergence) <= REPORT_EVERY:
        return False
    before, now = i_divergence[-1 - REPORT_EVERY], i_divergence[-1]
    return bool(((before - now) < FLAT * REPORT_EVERY * before).all())
