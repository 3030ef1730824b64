# SPDX-License-Identifier: BSD-3-Clause
"""Back projectors of Guo et al. 2020, by full transforms and for one PSF at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import _grids as grids


def back_projector(
    psf: Tensor,
    kind: str = "wiener_butterworth",
    *,
    alpha: float = 0.01,
    beta: float = 1.0,
    n: float = 10.0,
    resolution: float | list[float] | None = None,
    ndim: int | None = None,
) -> Tensor:
    """Return the back projector; see `otfuse.psf.back_projector`."""
    psf = grids.working(psf)
    ndim = psf.ndim if ndim is None else ndim
    items = psf.reshape(-1, *grids.spatial(psf, ndim))
    made = [_one(item, kind, alpha, beta, n, resolution) for item in items]
    return torch.stack(made).reshape(psf.shape)


def full_width(line: Tensor, peak: int) -> float:
    """Return the full width at half maximum about a peak, between samples."""
    half, reach = float(line.max()) / 2, 0.0
    for side in (line[peak:], line[: peak + 1].flip(0)):
        below = (side < half).nonzero()
        if len(below):
            j = int(below[0])
            reach += j - 1 + (float(side[j - 1]) - half) / (float(side[j - 1]) - float(side[j]))
        else:
            reach += len(side) - 0.5
    return reach


def _one(
    psf: Tensor,
    kind: str,
    alpha: float,
    beta: float,
    n: float,
    resolution: float | list[float] | None,
) -> Tensor:
    psf = psf / psf.sum()
    axes = tuple(range(psf.ndim))
    if kind == "matched":
        return psf
    widths = _widths(psf, resolution)
    places = [torch.arange(k, dtype=psf.dtype) - k // 2 for k in psf.shape]
    mesh = torch.meshgrid(*places, indexing="ij")
    if kind == "gaussian":
        exponent = sum((p / w) ** 2 for p, w in zip(mesh, widths, strict=True))
        light = torch.exp(-4 * math.log(2) * torch.as_tensor(exponent))
        return light / light.sum()
    at_cutoff = []
    for p, width in zip(mesh, widths, strict=True):
        turned = psf * torch.exp(-2j * math.pi * p / width)
        at_cutoff.append(turned.sum().abs())
    otf = torch.fft.fftn(torch.fft.ifftshift(psf))
    wiener = otf / (otf.abs() ** 2 + alpha)
    frequencies = torch.meshgrid(
        *[torch.fft.fftfreq(k, dtype=psf.dtype) for k in psf.shape], indexing="ij"
    )
    w = torch.as_tensor(sum((k * d) ** 2 for k, d in zip(frequencies, widths, strict=True)))
    level = torch.stack(at_cutoff).mean() if beta == 1 else psf.new_tensor(beta)
    if kind == "butterworth":
        filtered = (1 / torch.sqrt(1 + (1 / level**2 - 1) * w**n)).to(otf.dtype)
    elif kind == "wiener":
        filtered = wiener
    elif kind == "wiener_butterworth":
        passed = at_cutoff[-1] / (at_cutoff[-1] ** 2 + alpha)
        filtered = wiener / torch.sqrt(1 + (passed / level**2 - 1) * w**n)
    else:
        raise ValueError(f"back_projector: kind must be known, got {kind!r}")
    back: Tensor = torch.fft.fftshift(torch.fft.ifftn(filtered, dim=axes).real)
    return back


def _widths(psf: Tensor, resolution: float | list[float] | None) -> list[float]:
    if isinstance(resolution, int | float):
        return [float(resolution)] * psf.ndim
    if resolution is not None:
        return list(resolution)
    light = psf.detach()
    top = (light == light.max()).nonzero()[0].tolist()
    widths = []
    for axis, peak in enumerate(top):
        index = tuple(slice(None) if a == axis else i for a, i in enumerate(top))
        widths.append(full_width(light[index], peak))
    return widths
