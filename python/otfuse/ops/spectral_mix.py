# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::spectral_mix(x, symbol, adjoint): y_o = irfft( sum_i M_oi rfft(x_i) ).

Bilinear: the gradient in x is the same op with `adjoint` flipped (M^H for M), the one in the
symbol is otfuse::spectral_mix_symbol, whose own gradients are spectral_mix again.
otfuse::spectral_mix_factors takes M in factors, and never writes it where it has passes of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops import _mix_by_torch
from otfuse.ops._fields import field, is_double, on_huge_pages, triple
from otfuse.ops._registry import implement, operator, register_autograd, register_fake


@operator("spectral_mix", "(Tensor x, Tensor symbol, bool adjoint) -> Tensor")
def spectral_mix(x: Tensor, symbol: Tensor, adjoint: bool) -> Tensor:
    """x (batch, ins, spatial...), symbol complex (outs, ins, half spectrum) in natural order."""
    if x.ndim != 4:
        return _mix_by_torch.spectral_mix(x, symbol, adjoint)
    m = symbol.resolve_conj().contiguous()
    return _mixed(x, symbol.shape[:2], adjoint, (m.data_ptr(), 0, 0, 0))


def _mixed(
    x: Tensor, pairs: Sequence[int], adjoint: bool, matrix: tuple[int, int, int, int]
) -> Tensor:
    """By the core; the matrix is a symbol, or weight, basis and number of terms behind a 0."""
    outs = pairs[1 if adjoint else 0]
    batch, ins, *shape = x.shape
    source = x.reshape(-1, *shape).contiguous()
    out = on_huge_pages(x.new_empty((batch, outs, *shape)))
    _C.spectral_mix_cpu(
        is_double(x),
        triple(shape, 1),
        batch,
        outs,
        ins,
        field(source, (0, 0), shape),
        *matrix,
        adjoint,
        field(out.view(-1, *shape), (0, 0), shape),
        torch.get_num_threads(),
    )
    return out


@register_fake("spectral_mix")
def _(x: Tensor, symbol: Tensor, adjoint: bool) -> Tensor:
    return x.new_empty((x.shape[0], symbol.shape[1 if adjoint else 0], *x.shape[2:]))


def by_symbol(x: Tensor, weight: Tensor, basis: Tensor, adjoint: bool) -> Tensor:
    """otfuse::spectral_mix_factors where it has no passes of its own: M is made first."""
    symbol = (weight.flatten(0, 1) @ basis.flatten(1)).reshape(*weight.shape[:2], *basis.shape[1:])
    return spectral_mix(x, torch.view_as_complex(symbol), adjoint)


@operator("spectral_mix_factors", "(Tensor x, Tensor weight, Tensor basis, bool adjoint) -> Tensor")
def spectral_mix_factors(x: Tensor, weight: Tensor, basis: Tensor, adjoint: bool) -> Tensor:
    """The symbol is weight (outs, ins, terms) times basis (terms, half spectrum, 2), all real."""
    if x.ndim != 4:
        return by_symbol(x, weight, basis, adjoint)
    w, b = weight.contiguous(), basis.contiguous()
    return _mixed(x, w.shape[:2], adjoint, (0, w.data_ptr(), b.data_ptr(), w.shape[2]))


@register_fake("spectral_mix_factors")
def _(x: Tensor, weight: Tensor, basis: Tensor, adjoint: bool) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[1 if adjoint else 0], *x.shape[2:]))


implement("spectral_mix_factors", "CUDA")(by_symbol)


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


def _backward_factors(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, basis = ctx.saved_tensors
    grad_x = grad_weight = grad_basis = None
    if ctx.needs_input_grad[0]:
        grad_x = spectral_mix_factors(grad, weight, basis, not ctx.adjoint)
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        pair = (grad, x) if ctx.adjoint else (x, grad)
        symbol = torch.view_as_real(spectral_mix_symbol(*pair)).flatten(2).flatten(0, 1)
        grad_weight = (symbol @ basis.flatten(1).mT).reshape(weight.shape)
        grad_basis = (weight.flatten(0, 1).mT @ symbol).reshape(basis.shape)
    return grad_x, grad_weight, grad_basis, None


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
register_autograd("spectral_mix_factors", _backward_factors, _setup_mix)
register_autograd("spectral_mix_symbol", _backward_symbol, _setup_symbol)
