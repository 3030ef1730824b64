# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::spectral_mix(x, symbol, adjoint): y_o = irfft( sum_i M_oi rfft(x_i) ).

Bilinear: the gradient in x is the same op with `adjoint` flipped (M^H for M), the one in the
symbol is otfuse::spectral_mix_symbol, whose own gradients are spectral_mix again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops import _mix_by_torch
from otfuse.ops._fields import field, is_double, on_huge_pages, triple
from otfuse.ops._registry import operator, register_autograd, register_fake


@operator("spectral_mix", "(Tensor x, Tensor symbol, bool adjoint) -> Tensor")
def spectral_mix(x: Tensor, symbol: Tensor, adjoint: bool) -> Tensor:
    """x (batch, ins, spatial...), symbol complex (outs, ins, half spectrum) in natural order."""
    if x.ndim != 4:
        return _mix_by_torch.spectral_mix(x, symbol, adjoint)
    batch, ins, *shape = x.shape
    outs = symbol.shape[1] if adjoint else symbol.shape[0]
    source, m = x.reshape(-1, *shape).contiguous(), symbol.resolve_conj().contiguous()
    out = on_huge_pages(x.new_empty((batch, outs, *shape)))
    _C.spectral_mix_cpu(
        is_double(x),
        triple(shape, 1),
        batch,
        outs,
        ins,
        field(source, (0, 0), shape),
        m.data_ptr(),
        adjoint,
        field(out.view(-1, *shape), (0, 0), shape),
        torch.get_num_threads(),
    )
    return out


@register_fake("spectral_mix")
def _(x: Tensor, symbol: Tensor, adjoint: bool) -> Tensor:
    return x.new_empty((x.shape[0], symbol.shape[1 if adjoint else 0], *x.shape[2:]))


@operator("spectral_mix_symbol", "(Tensor x, Tensor grad) -> Tensor")
def spectral_mix_symbol(x: Tensor, grad: Tensor) -> Tensor:
    """The derivative of <grad, spectral_mix(x, symbol)> in the symbol."""
    if x.ndim != 4:
        return _mix_by_torch.spectral_mix_symbol(x, grad)
    batch, ins, *shape = x.shape
    outs = grad.shape[1]
    source, wanted = (a.reshape(-1, *shape).contiguous() for a in (x, grad))
    out = on_huge_pages(x.new_empty((outs, ins, shape[0], shape[1] // 2 + 1, 2)))
    _C.spectral_mix_symbol_cpu(
        is_double(x),
        triple(shape, 1),
        batch,
        outs,
        ins,
        field(source, (0, 0), shape),
        field(wanted, (0, 0), shape),
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return torch.view_as_complex(out)


@register_fake("spectral_mix_symbol")
def _(x: Tensor, grad: Tensor) -> Tensor:
    half = (*x.shape[2:-1], x.shape[-1] // 2 + 1)
    return x.new_empty((grad.shape[1], x.shape[1], *half), dtype=x.dtype.to_complex())


def _setup_mix(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.adjoint = inputs
    ctx.save_for_backward(*tensors)


def _backward_mix(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, symbol = ctx.saved_tensors
    grad_x = grad_symbol = None
    if ctx.needs_input_grad[0]:
        grad_x = spectral_mix(grad, symbol, not ctx.adjoint)
    if ctx.needs_input_grad[1]:
        pair = (grad, x) if ctx.adjoint else (x, grad)
        grad_symbol = spectral_mix_symbol(*pair)
    return grad_x, grad_symbol, None


def _setup_symbol(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_symbol(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, wanted = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        spectral_mix(wanted, grad, True) if needs[0] else None,
        spectral_mix(x, grad, False) if needs[1] else None,
    )


register_autograd("spectral_mix", _backward_mix, _setup_mix)
register_autograd("spectral_mix_symbol", _backward_symbol, _setup_symbol)
