# SPDX-License-Identifier: BSD-3-Clause
"""The diffraction integrals over the pupil, scalar and vectorial, on a radial grid.

With rho the pupil radius in units of the aperture, k the wavenumber and v = k NA r,

    U_m(v, z) = 2 int_0^1 J_m(v rho) A_m(rho) exp(i k (z s(rho) + W(rho))) rho drho
    I(v, z) = sum_m |U_m|^2
    s(rho)  = sqrt(n^2 - NA^2 rho^2)            n: immersion index, z: stage position
    W(rho)  = depth sqrt(ns^2 - NA^2 rho^2) + (tg - tg*) sqrt(ng^2 - NA^2 rho^2) - best focus

The scalar model (Gibson and Lanni 1992; Born and Wolf without layers) has m = 0 and A = 1. The
vectorial one (Richards and Wolf 1959; Torok and Varga 1997 for the layers) has m = 0, 1, 2 with

    A_0 = (t_s + t_p cos a) / 2 sqrt(cos b)     a, b: angles of the ray in sample and immersion
    A_1 = sqrt(2) t_p sin a / 2 sqrt(cos b)     t_s, t_p: Fresnel's transmission, both polarisations
    A_2 = (t_s - t_p cos a) / 2 sqrt(cos b)     immersion to glass to sample

which is the focus of unpolarised light, and by reciprocity the image of a dipole that points
everywhere in turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ._bessel import bessel_j0, bessel_j1, bessel_j2
from ._optics import Lens
from ._radial import BLOCK, gauss_legendre, radial_grid

# Gauss-Legendre nodes per panel of the pupil, and the phase (radians) that a panel resolves to
# 1e-12; the limit of n nodes is a phase of 4 n, less a margin.
_PANEL_NODES = 64
_PANEL_PHASE = 150.0
# na / n above which sqrt(cos b) is too steep at the rim for the plain rule.
_GRAZING = 0.995


def _pupil(rate: float, edge: float | None) -> tuple[Tensor, Tensor]:
    """Return nodes rho and weights of `2 rho drho` for phases that turn by `rate` per unit phi.

    With rho = sin(phi) the square roots in the phase have no steep end at the rim. `edge` is the
    rho of total reflection, where one of them has a branch point: the pupil is cut there, and a
    quadratic step towards the cut from either side makes the root smooth.
    """
    if edge is None or edge > 1:
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
    nodes, weights = gauss_legendre(_PANEL_NODES)
    starts = torch.arange(count, dtype=torch.float64)[:, None]
    return ((starts + nodes) / count).flatten(), weights.repeat(count) / count


def _nodes(lens: Lens, v_max: float, deepest: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the pupil's nodes and weights for radii up to `v_max`, heights up to `deepest`."""
    index, na = float(lens.immersion_index.detach()), float(lens.na.detach())
    layers = 0.0
    if lens.aberrated:
        excess = lens.coverslip_excess
        layers += float(lens.depth.detach())
        layers += 0.0 if excess is None else abs(float(excess.detach()))
    # No part of the phase turns faster over phi.
    defocus = deepest * (index - math.sqrt(index**2 - na**2))
    rate = v_max + float(lens.wavenumber.detach()) * (defocus + layers * index)
    edge = None if lens.sample_index is None else float(lens.sample_index.detach()) / na
    if (edge is None or edge > 1) and lens.vectorial and na > _GRAZING * index:
        edge = 1.0
    rho, weight = _pupil(rate, edge)
    return rho.to(device), weight.to(device)


def _root(squared: Tensor) -> tuple[Tensor, Tensor]:
    """Return the real and the imaginary part of a square root, with finite gradients at zero."""
    size = torch.sqrt(torch.where(squared == 0, torch.ones_like(squared), squared.abs()))
    zero = torch.zeros_like(size)
    return torch.where(squared > 0, size, zero), torch.where(squared < 0, size, zero)


def _apodisation(lens: Lens, rho: Tensor) -> list[tuple[Tensor, Tensor | None]]:
    """Return the real and imaginary parts of A_0, or of A_0, A_1 and A_2."""
    if not lens.vectorial:
        return [(torch.ones_like(rho), None)]
    ray = lens.na * rho
    sample = lens.immersion_index if lens.sample_index is None else lens.sample_index
    indices = (lens.immersion_index, lens.coverslip_index, sample)
    # n cos of the angle in each layer, imaginary beyond total reflection.
    first, glass, last = (torch.complex(*_root(n**2 - ray**2)) for n in indices)
    s_wave, p_wave = torch.ones_like(first), torch.ones_like(first)
    for (n, q), (m, r) in (
        ((indices[0], first), (indices[1], glass)),
        ((indices[1], glass), (indices[2], last)),
    ):
        s_wave = s_wave * 2 * q / (q + r)
        p_wave = p_wave * 2 * n * m * q / (m**2 * q + n**2 * r)
    # At a right angle nothing is transmitted, and there must be no 0 / 0.
    half = 0.5 / torch.sqrt(first.real.clamp(min=1e-12) / lens.immersion_index)
    along, across = p_wave * last / sample, p_wave * ray / sample
    parts = (s_wave + along, math.sqrt(2) * across, s_wave - along)
    return [(half * part.real, half * part.imag) for part in parts]


def _power(parts: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
    """Return the sum of the squared moduli."""
    total = torch.zeros_like(parts[0][0])
    for real, imaginary in parts:
        total = total + real**2
        if imaginary is not None:
            total = total + imaginary**2
    return total


def _aberration(lens: Lens, rho: Tensor) -> tuple[Tensor, Tensor]:
    """Return W (micrometres, best focus still in it) and the amplitude that is not evanescent."""
    bend = torch.zeros_like(rho)
    decay = torch.zeros_like(rho)
    ray = (lens.na * rho) ** 2
    if lens.sample_index is not None:
        travelling, evanescent = _root(lens.sample_index**2 - ray)
        bend = bend + lens.depth * travelling
        decay = decay + lens.depth * evanescent
    if lens.coverslip_excess is not None:
        bend = bend + lens.coverslip_excess * torch.sqrt(lens.coverslip_index**2 - ray)
    return bend, torch.exp(-lens.wavenumber * decay)


def _without_focus(bend: Tensor, focus: Tensor, share: Tensor) -> Tensor:
    """Return W less its best fit by piston and defocus: there the PSF is centred."""
    share = share / share.sum()
    focus = focus - (share * focus).sum()
    bend = bend - (share * bend).sum()
    return bend - focus * (share * focus * bend).sum() / (share * focus**2).sum()


def _waves(
    lens: Lens, rho: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor | None]]]:
    """Return s less its value on the axis, W, and A_m with the evanescent decay in it."""
    focus = torch.sqrt(lens.immersion_index**2 - (lens.na * rho) ** 2) - lens.immersion_index
    parts = _apodisation(lens, rho)
    if not lens.aberrated:
        return focus, torch.zeros_like(rho), parts
    bend, kept = _aberration(lens, rho)
    parts = [(re * kept, None if im is None else im * kept) for re, im in parts]
    return focus, _without_focus(bend, focus, weight * _power(parts)), parts


def radial_intensity(lens: Lens, v_max: float, z: Tensor) -> Tensor:
    """Return I at v = 0, step, ... beyond `v_max` for the stage positions `z`: (v, z)."""
    deepest = float(z.abs().max()) if z.numel() else 0.0
    rho, weight = _nodes(lens, v_max, deepest, z.device)
    focus, bend, parts = _waves(lens, rho, weight)
    phase = lens.wavenumber * (z[None, :] * focus[:, None] + bend[:, None])
    cosine, sine = torch.cos(phase), torch.sin(phase)
    pupils = []
    for real, imaginary in parts:
        re = (weight * real)[:, None]
        wave = [re * cosine, re * sine]
        if imaginary is not None:
            im = (weight * imaginary)[:, None]
            wave = [wave[0] - im * sine, wave[1] + im * cosine]
        pupils.append(torch.cat(wave, dim=1))

    rows = []
    for part in torch.split(radial_grid(v_max, z.device), max(1, BLOCK // len(rho))):
        fields = torch.stack(
            [b @ p for b, p in zip(_bessels(part, rho, lens), pupils, strict=True)]
        )
        squares = fields.square().sum(0)
        rows.append(squares[:, : z.numel()] + squares[:, z.numel() :])
    return torch.cat(rows)


def _bessels(v: Tensor, rho: Tensor, lens: Lens) -> list[Tensor]:
    """Return J_m(v rho) for the orders of the model: (v, rho) each."""
    x = v[:, None] * rho
    zeroth = bessel_j0(x)
    if not lens.vectorial:
        return [zeroth]
    first = bessel_j1(x)
    return [zeroth, first, bessel_j2(x, zeroth, first)]


def plane_light(lens: Lens) -> Tensor:
    """Return `int_0^inf I v dv`, the same in every plane: `4 int sum A_m^2 rho drho` (Parseval)."""
    rho, weight = _nodes(lens, 0.0, 0.0, lens.na.device)
    _, _, parts = _waves(lens, rho, weight)
    return 2 * (weight * _power(parts)).sum()
