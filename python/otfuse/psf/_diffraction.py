# SPDX-License-Identifier: BSD-3-Clause
"""The scalar Gibson-Lanni integral over the pupil, on a radial grid, and its way to the pixels.

With rho the pupil radius in units of the aperture, k the wavenumber and v = k NA r,

    I(v, z) = | 2 int_0^1 J0(v rho) exp(i k (z s(rho) + W(rho))) rho drho |^2
    s(rho)  = sqrt(n^2 - NA^2 rho^2)            n: immersion index, z: stage position
    W(rho)  = depth sqrt(ns^2 - NA^2 rho^2) + (tg - tg*) sqrt(ng^2 - NA^2 rho^2) - best focus

The radial grid is regular in v, so J0 is taken at constants only and gradients in every optical
parameter flow through the phase and through the positions of the pixels on that grid.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ._bessel import bessel_j0
from ._optics import Lens

# Step of the radial grid in v. The intensity has no frequency above 2, which is 16 steps a period;
# 8-point Lagrange interpolation then errs by 1e-8 of the local amplitude (measured).
_STEP = 0.2
_TAPS = 8
# Gauss-Legendre nodes per panel of the pupil, and the phase (radians) that a panel resolves to
# 1e-12; the limit of n nodes is a phase of 4 n, less a margin.
_PANEL_NODES = 64
_PANEL_PHASE = 150.0
# Values that are computed at a time: 2 MB, which stay in a cache.
_BLOCK = 2**18


@lru_cache(maxsize=16)
def _gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Return `count` nodes and weights on [0, 1] (Golub and Welsch 1969)."""
    order = torch.arange(1, count, dtype=torch.float64)
    beta = order / torch.sqrt(4 * order**2 - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


def _pupil(rate: float, edge: float | None) -> tuple[Tensor, Tensor]:
    """Return nodes rho and weights of `2 rho drho` for phases that turn by `rate` per unit phi.

    With rho = sin(phi) the square roots in the phase have no steep end at the rim. `edge` is the
    rho of total reflection, where one of them has a branch point: the pupil is cut there, and a
    quadratic step towards the cut from either side makes the root smooth.
    """
    if edge is None or edge >= 1:
        u, du = _panels(rate * math.pi / 2)
        phi, dphi = u * math.pi / 2, du * math.pi / 2
    else:
        cut = math.asin(edge)
        (u, du), (w, dw) = _panels(2 * rate * cut), _panels(2 * rate * (math.pi / 2 - cut))
        phi = torch.cat([cut * u * (2 - u), cut + (math.pi / 2 - cut) * w**2])
        dphi = torch.cat([2 * cut * (1 - u) * du, 2 * (math.pi / 2 - cut) * w * dw])
    return torch.sin(phi), torch.sin(2 * phi) * dphi


def _panels(phase: float) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on [0, 1] that resolve a phase turning that far."""
    count = max(1, math.ceil(phase / _PANEL_PHASE))
    nodes, weights = _gauss_legendre(_PANEL_NODES)
    starts = torch.arange(count, dtype=torch.float64)[:, None]
    return ((starts + nodes) / count).flatten(), weights.repeat(count) / count


def _root(squared: Tensor) -> tuple[Tensor, Tensor]:
    """Return the real and the imaginary part of a square root, with finite gradients at zero."""
    real = squared > 0
    size = torch.sqrt(torch.where(squared == 0, torch.ones_like(squared), squared.abs()))
    zero = torch.zeros_like(size)
    return torch.where(real, size, zero), torch.where(real, zero, size)


def _aberration(lens: Lens, rho: Tensor, weight: Tensor, focus: Tensor) -> tuple[Tensor, Tensor]:
    """Return W (micrometres, best focus taken out) and the amplitude left by evanescent decay."""
    bend = torch.zeros_like(rho)
    decay = torch.zeros_like(rho)
    ray = (lens.na * rho) ** 2
    if lens.sample_index is not None:
        travelling, evanescent = _root(lens.sample_index**2 - ray)
        bend = bend + lens.depth * travelling
        decay = decay + lens.depth * evanescent
    if lens.coverslip_excess is not None:
        bend = bend + lens.coverslip_excess * torch.sqrt(lens.coverslip_index**2 - ray)
    amplitude = torch.exp(-lens.wavenumber * decay)
    # Moving the stage adds a multiple of s(rho): the best multiple is where the PSF is centred.
    share = weight * amplitude**2
    share = share / share.sum()
    focus = focus - (share * focus).sum()
    bend = bend - (share * bend).sum()
    bend = bend - focus * (share * focus * bend).sum() / (share * focus**2).sum()
    return bend, amplitude


def _grid(v_max: float, device: torch.device) -> Tensor:
    """Return the radial grid with the neighbours that interpolation at `v_max` asks for."""
    count = math.ceil(v_max / _STEP) + _TAPS // 2 + 1
    return _STEP * torch.arange(count, dtype=torch.float64, device=device)


def radial_intensity(lens: Lens, v_max: float, z: Tensor) -> Tensor:
    """Return I at v = 0, step, ... beyond `v_max` for the stage positions `z`: (v, z)."""
    index, na = float(lens.immersion_index.detach()), float(lens.na.detach())
    k = float(lens.wavenumber.detach())
    deepest = float(z.abs().max()) if z.numel() else 0.0
    layers = 0.0
    if lens.aberrated:
        excess = lens.coverslip_excess
        layers += float(lens.depth.detach())
        layers += 0.0 if excess is None else abs(float(excess.detach()))
    # No part of the phase turns faster over phi.
    rate = v_max + k * (deepest * (index - math.sqrt(index**2 - na**2)) + layers * index)
    edge = None if lens.sample_index is None else float(lens.sample_index.detach()) / na
    rho, weight = (part.to(z.device) for part in _pupil(rate, edge))

    focus = torch.sqrt(lens.immersion_index**2 - (lens.na * rho) ** 2) - lens.immersion_index
    phase = z[None, :] * focus[:, None]
    if lens.aberrated:
        bend, amplitude = _aberration(lens, rho, weight, focus)
        phase, weight = phase + bend[:, None], weight * amplitude
    phase = phase * lens.wavenumber
    pupil = weight[:, None] * torch.cat([torch.cos(phase), torch.sin(phase)], dim=1)

    rows = []
    for part in torch.split(_grid(v_max, z.device), max(1, _BLOCK // len(rho))):
        wave = bessel_j0(part[:, None] * rho) @ pupil
        rows.append(wave[:, : z.numel()] ** 2 + wave[:, z.numel() :] ** 2)
    return torch.cat(rows)


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
    rows = max(1, _BLOCK // profile.shape[1])
    return torch.cat([_interpolate_rows(profile, part) for part in torch.split(v, rows)])


def _interpolate_rows(profile: Tensor, v: Tensor) -> Tensor:
    first, weights = _stencil(v)
    total = torch.zeros(len(v), profile.shape[1], dtype=profile.dtype, device=profile.device)
    for tap, weight in enumerate(weights):
        # The profile is even in v, so the neighbours below zero are its own mirror image.
        neighbour = profile.index_select(0, (first + tap).abs())
        total = torch.addcmul(total, weight[:, None], neighbour)
    return total


def disc_mean(profile: Tensor, radius: Tensor, v_max: float) -> Tensor:
    """Return the profile averaged over a disc of `radius` (in v): the light through a pinhole.

    Row i is the mean over the disc around v = i step, `sum_q w_q I(|v - q|)`, with Gauss-Legendre
    points along the radius of the disc and equal angles around it.
    """
    reach = float(radius.detach())
    # The intensity has no frequency above 2, so a disc of radius a spans a phase of 2 a each way.
    rule = _gauss_legendre(8 + math.ceil(reach))
    rings, ring_weights = (part.to(profile.device) for part in rule)
    angles = 8 + math.ceil(2 * reach)
    turn = (torch.arange(angles, dtype=torch.float64, device=profile.device) + 0.5) * (
        math.pi / angles
    )
    ring = (radius * rings)[:, None]
    across, along = (ring * torch.sin(turn)).flatten(), (ring * torch.cos(turn)).flatten()
    share = (2 * rings * ring_weights / angles)[:, None].expand(-1, angles).flatten()
    v = _grid(v_max, profile.device)
    parts = []
    for part in torch.split(v, max(1, _BLOCK // len(share))):
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
