# SPDX-License-Identifier: BSD-3-Clause
"""The loss that m-rBCR is trained with: images and spectra at three scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otfuse import _checks

SPECTRA = ("plane", "line")


def mrbcr_loss(restored: Sequence[Tensor], target: Tensor, *, spectrum: str = "plane") -> Tensor:
    """Return the sum over the scales of `mean (p - t)^2 + 0.5 mean |F(p - t)|`.

    The coarser scales are held against every second and every fourth pixel of the target.

    Parameters
    ----------
    restored : (z0, z2, z4)
        What `MRBCR` gives.
    target : Tensor, shape (batch, 1, ny, nx)
    spectrum : {"plane", "line"}
        F is the transform of the plane, or that of each line along x, as in the published code
        (where both axes were meant). That of the plane is divided by sqrt(ny), so that white
        differences weigh as much as there.

    Returns
    -------
    Tensor, a scalar

    References
    ----------
    Li, Kudryashev & Yakimovich, ECCV 2024, and the published code.
    """
    return mrbcr_losses(restored, target, spectrum=spectrum).sum()


def mrbcr_losses(restored: Sequence[Tensor], target: Tensor, *, spectrum: str = "plane") -> Tensor:
    """The three terms of `mrbcr_loss`, the finest scale first: a Tensor of shape (3,)."""
    _checks.one_of("mrbcr_loss", "spectrum", spectrum, SPECTRA)
    terms = []
    for step, z in zip((1, 2, 4), restored, strict=True):
        # In full precision also where the network computes in half of it.
        difference = (z - target[..., ::step, ::step]).to(torch.promote_types(z.dtype, torch.float))
        if spectrum == "plane":
            waves = torch.fft.fft2(difference) * difference.shape[-2] ** -0.5
        else:
            waves = torch.fft.fft(difference)
        terms.append(difference.square().mean() + 0.5 * waves.abs().mean())
    return torch.stack(terms)
