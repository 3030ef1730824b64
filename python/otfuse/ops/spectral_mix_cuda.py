# SPDX-License-Identifier: BSD-3-Clause
"""Bodies of otfuse::spectral_mix and otfuse::spectral_mix_symbol on a device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otfuse.ops import _mix_by_torch
from otfuse.ops._device import Device, serve, tables, workspace
from otfuse.ops._fields import field, is_double, triple


@serve("spectral_mix", _mix_by_torch.spectral_mix)
def spectral_mix_on(device: Device, x: Tensor, symbol: Tensor, adjoint: bool) -> Tensor:
    """See otfuse::spectral_mix."""
    batch, ins, *shape = x.shape
    if not _has_passes(device, shape):
        return _mix_by_torch.spectral_mix(x, symbol, adjoint)
    outs = symbol.shape[1] if adjoint else symbol.shape[0]
    source, m = x.reshape(-1, *shape).contiguous(), symbol.resolve_conj().contiguous()
    out = x.new_empty((batch, outs, *shape))
    memory = _spectra(device, x, batch * (ins + outs))
    origin = [0] * len(shape)
    device.kernels.spectral_mix(
        is_double(x),
        triple(shape, 1),
        batch,
        outs,
        ins,
        field(source, origin, shape),
        m.data_ptr(),
        adjoint,
        field(out.view(-1, *shape), origin, shape),
        tables(device.kernels, x, shape),
        memory.data_ptr(),
        device.queue,
    )
    return out


@serve("spectral_mix_symbol", _mix_by_torch.spectral_mix_symbol)
def spectral_mix_symbol_on(device: Device, x: Tensor, grad: Tensor) -> Tensor:
    """See otfuse::spectral_mix_symbol."""
    batch, ins, *shape = x.shape
    if not _has_passes(device, shape):
        return _mix_by_torch.spectral_mix_symbol(x, grad)
    outs = grad.shape[1]
    source, wanted = (a.reshape(-1, *shape).contiguous() for a in (x, grad))
    out = x.new_empty((outs, ins, *shape[:-1], shape[-1] // 2 + 1, 2))
    memory = _spectra(device, x, batch * (ins + outs))
    origin = [0] * len(shape)
    device.kernels.spectral_mix_symbol(
        is_double(x),
        triple(shape, 1),
        batch,
        outs,
        ins,
        field(source, origin, shape),
        field(wanted, origin, shape),
        out.data_ptr(),
        tables(device.kernels, x, shape),
        memory.data_ptr(),
        device.queue,
    )
    return torch.view_as_complex(out)


def _has_passes(device: Device, shape: Sequence[int]) -> bool:
    """Whether the kernels transform these extents; torch.fft does the others."""
    return all(device.kernels.has_line_plan(n) for n in shape)


def _spectra(device: Device, x: Tensor, count: int) -> Tensor:
    """Room for the spectra of so many images."""
    reals = count * device.kernels.otf_size(triple(x.shape[2:], 1))
    return workspace(x, reals * x.element_size())
