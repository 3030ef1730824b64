# SPDX-License-Identifier: BSD-3-Clause
"""Intensities on a radial grid, and the way from there to pixels and pinholes.

The grid is regular in v = k NA r, so that Bessel functions are taken at constants only; gradients
flow through the positions of pixels and pinholes on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

# Step of the radial grid in v. The intensity has no frequency above 2, which is 16 steps a period;
# 8-point Lagrange interpolation then errs by 1e-8 of the local amplitude (measured).
_STEP = 0.2
_TAPS = 8
# Values that are computed at a time: 2 MB, which stay in a cache.
BLOCK = 2**18


@dataclass(frozen=True)
class Radial:
    """An intensity that depends on radius and height: rows v = 0, step, ...; columns z."""

    profile: Tensor  # (v, z)
    scale: Tensor  # v per micrometre
    power: int = 1  # photons that one event takes

    def at(self, radius: Tensor) -> Tensor:
        """Return the values at radii in micrometres: (len(radius), z)."""
        light = interpolate(self.profile, self.scale * radius)
        return light if self.power == 1 else light**self.power


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for gradients too, which take no tensor of inference mode
def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Return `count` nodes and weights on [0, 1] (Golub and Welsch 1969)."""
    order = torch.arange(1, count, dtype=torch.float64)
    beta = order / torch.sqrt(4 * order**2 - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


def radial_grid(v_max: float, device: torch.device) -> Tensor:
    """Return the radii with the neighbours that interpolation at `v_max` asks for."""
    count = math.ceil(v_max / _STEP) + _TAPS // 2 + 1
    return _STEP * torch.arange(count, dtype=torch.float64, device=device)


def _lagrange(offset: Tensor) -> list[Tensor]:
    """Return the weights of the eight neighbours of points `offset` past the fourth of them."""
    left = _TAPS // 2 - 1
    gaps = [offset - (tap - left) for tap in range(_TAPS)]
    # Each weight is the product of all gaps but its own, over the same of whole numbers.
    below, above = [torch.ones_like(offset)], [torch.ones_like(offset)]
    for tap in range(_TAPS - 1):
        below.append(below[-1] * gaps[tap])
        above.append(above[-1] * gaps[_TAPS - 1 - tap])
    scales = [math.prod(tap - j for j in range(_TAPS) if j != tap) for tap in range(_TAPS)]
    return [
        low * high / scale for low, high, scale in zip(below, reversed(above), scales, strict=True)
    ]


def _stencil(v: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the index of the first neighbour of the radii `v`, and the weights of all eight."""
    position = v / _STEP
    base = position.detach().floor()
    return base.long() - (_TAPS // 2 - 1), _lagrange(position - base)


def interpolate(profile: Tensor, v: Tensor) -> Tensor:
    """Return the rows of a radial profile (v, z) at the radii `v`: (len(v), z)."""
    rows = max(1, BLOCK // profile.shape[1])
    return torch.cat([_interpolate_rows(profile, part) for part in torch.split(v, rows)])


def _interpolate_rows(profile: Tensor, v: Tensor) -> Tensor:
    first, weights = _stencil(v)
    total = torch.zeros(len(v), profile.shape[1], dtype=profile.dtype, device=profile.device)
    for tap, weight in enumerate(weights):
        # The profile is even in v, so the neighbours below zero are its own mirror image.
        neighbour = profile.index_select(0, (first + tap).abs())
        total = torch.addcmul(total, weight[:, None], neighbour)
    return total


def disc_margin(radius: Tensor) -> float:
    """Return how much farther than its result the profile given to `disc_mean` must reach."""
    return float(radius.detach()) + 1


def disc_mean(profile: Tensor, radius: Tensor, v_max: float) -> Tensor:
    """Return the profile averaged over a disc of `radius` (in v): the light through a pinhole.

    Row i is the mean over the disc around v = i step, `sum_q w_q I(|v - q|)`, with Gauss-Legendre
    points along the radius of the disc and equal angles around it.
    """
    reach = float(radius.detach())
    # The intensity has no frequency above 2, so a disc of radius a spans a phase of 2 a each way.
    rule = gauss_legendre(8 + math.ceil(reach))
    rings, ring_weights = (part.to(profile.device) for part in rule)
    angles = 8 + math.ceil(2 * reach)
    turn = (torch.arange(angles, dtype=torch.float64, device=profile.device) + 0.5) * (
        math.pi / angles
    )
    ring = (radius * rings)[:, None]
    across, along = (ring * torch.sin(turn)).flatten(), (ring * torch.cos(turn)).flatten()
    share = (2 * rings * ring_weights / angles)[:, None].expand(-1, angles).flatten()
    v = radial_grid(v_max, profile.device)
    parts = []
    for part in torch.split(v, max(1, BLOCK // len(share))):
        distance = torch.sqrt((part[:, None] - along) ** 2 + across**2)
        parts.append(_gather(profile, distance, share))
    return torch.cat(parts)


def _gather(profile: Tensor, distance: Tensor, share: Tensor) -> Tensor:
    """Return `sum_q share_q profile(distance_iq)` as one matrix product: (i, z)."""
    first, weights = _stencil(distance)
    matrix = torch.zeros(len(distance), len(profile), dtype=profile.dtype, device=profile.device)
    for tap, weight in enumerate(weights):
        matrix = matrix.scatter_add_(1, (first + tap).abs(), weight * share)
    return matrix @ profile
