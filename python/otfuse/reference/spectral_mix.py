# SPDX-License-Identifier: BSD-3-Clause
"""Channels mixed in the frequency domain, band by band."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import _grids as grids


def spectral_mix(
    x: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    psf: Tensor | None = None,
    stage: str = "free",
    regularization: Tensor | None = None,
) -> Tensor:
    """Return `ifft(sum_l T_l phi_l S_l fft(x)) + bias`; see `otfuse.spectral_mix`.

    Whole spectra, one band at a time, each direction on its own.
    """
    d = weight.shape[1] - 1
    shape, axes = grids.spatial(x, d), tuple(range(-d, 0))
    spectrum = torch.fft.fftn(x, dim=axes)
    lines = [torch.fft.fftfreq(n, dtype=x.dtype, device=x.device) for n in shape]
    k = torch.meshgrid(*lines, indexing="ij")
    radius = torch.sqrt(sum((u * u for u in k), torch.zeros_like(k[0])))
    odd = radius > 0
    for u in k:
        odd = odd & (u != -0.5)
    otf = None
    if psf is not None:
        kernel = torch.zeros(shape, dtype=x.dtype, device=x.device)
        kernel[tuple(slice(0, n) for n in psf.shape)] = psf
        otf = torch.fft.fftn(kernel.roll([-(n // 2) for n in psf.shape], axes))
    total = torch.zeros((), dtype=spectrum.dtype, device=x.device)
    for band in range(len(weight)):
        gain = _window(radius, band, len(weight)).to(spectrum.dtype)
        if stage == "adjoint" and otf is not None:
            gain = gain * otf.conj()
        if stage == "inverse" and otf is not None and regularization is not None:
            gain = gain / (otf.abs() ** 2 + torch.nn.functional.softplus(regularization[band]))
        # x first, then y, then z: the last axis is the first direction.
        parts = [torch.ones_like(radius) + 0j]
        parts += [1j * torch.where(odd, u / radius.clamp(min=1e-30), 0) for u in reversed(k)]
        for direction, part in enumerate(parts):
            mixed = torch.tensordot(
                weight[band, direction].to(spectrum.dtype), spectrum, ([1], [1])
            )
            total = total + gain * part * mixed.movedim(0, 1)
    result = torch.fft.ifftn(total, dim=axes).real
    return result if bias is None else result + bias.reshape(-1, *[1] * d)


def _window(radius: Tensor, band: int, bands: int) -> Tensor:
    """Half a cosine on either side of the band's own octave; the outer bands go on as 1."""
    octave = bands - 1 + torch.log2(radius.clamp(min=1e-30) / 0.5)
    distance = (octave.clamp(0, bands - 1) - band).abs().clamp(max=1)
    return 0.5 + 0.5 * torch.cos(math.pi * distance)
