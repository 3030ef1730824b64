# SPDX-License-Identifier: BSD-3-Clause
"""Channels mixed at every frequency by torch.fft, where the build or the core has no passes."""

from __future__ import annotations

import torch
from torch import Tensor


def _axes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2 - x.ndim, 0))


def spectral_mix(x: Tensor, symbol: Tensor, adjoint: bool) -> Tensor:
    """See otfuse::spectral_mix."""
    if len(x) == 0:  # which torch.fft refuses
        return x.new_empty((0, symbol.shape[1 if adjoint else 0], *x.shape[2:]))
    spectrum = torch.fft.rfftn(x, dim=_axes(x)).flatten(2)
    matrices = symbol.flatten(2)
    if adjoint:
        matrices = matrices.conj().transpose(0, 1)
    mixed = torch.einsum("oik,bik->bok", matrices, spectrum)
    mixed = mixed.unflatten(2, symbol.shape[2:])
    back: Tensor = torch.fft.irfftn(mixed, s=x.shape[2:], dim=_axes(x))
    return back.contiguous()


def spectral_mix_symbol(x: Tensor, grad: Tensor) -> Tensor:
    """See otfuse::spectral_mix_symbol.

    Columns but the first (and Nyquist) stand for two frequencies.
    """
    if len(x) == 0:
        half = (*x.shape[2:-1], x.shape[-1] // 2 + 1)
        return x.new_zeros((grad.shape[1], x.shape[1], *half), dtype=x.dtype.to_complex())
    seen, wanted = (torch.fft.rfftn(a, dim=_axes(a)).flatten(2) for a in (x, grad))
    n = x.shape[-1]
    share = x.new_full((n // 2 + 1,), 2.0)
    share[0] = 1
    if n % 2 == 0:
        share[-1] = 1
    found = torch.einsum("bok,bik->oik", wanted, seen.conj())
    shape = (*x.shape[2:-1], n // 2 + 1)
    return (found.unflatten(2, shape) * (share / x[0, 0].numel())).contiguous()
