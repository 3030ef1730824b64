# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::conv_thin: a convolution of few channels with zeros beyond the edges, extents kept.

The gradient in the inputs is the same op with the mirrored, transposed weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import is_double, on_huge_pages, triple
from otfuse.ops._registry import (
    operator,
    register_autocast_float32,
    register_autograd,
    register_fake,
)


@operator(
    "conv_thin",
    "(Tensor[] inputs, Tensor weight, Tensor? bias, Tensor? added, str activation) -> Tensor",
)
def conv_thin(
    inputs: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    added: Tensor | None,
    activation: str,
) -> Tensor:
    """activation(bias + weight * (inputs side by side + added)).

    Inputs (batch, channels, spatial...), weight (channels_out, channels_in, kernel...), added
    (batch, 1, spatial...).
    """
    call = Call.of(inputs, weight, bias, added)
    _C.conv_thin_cpu(call.job(activation), torch.get_num_threads())
    return call.out


class Call(NamedTuple):
    """The tensors of a call as the core takes them, and one for its result."""

    parts: list[Tensor]
    weight: Tensor
    bias: Tensor | None
    added: Tensor | None
    out: Tensor

    @classmethod
    def of(
        cls, inputs: Sequence[Tensor], weight: Tensor, bias: Tensor | None, added: Tensor | None
    ) -> Call:
        """Copies of those that do not lie as they should."""
        first = inputs[0]
        return cls(
            [spatially_contiguous(x) for x in inputs],
            weight.contiguous(),
            None if bias is None else bias.contiguous(),
            None if added is None else spatially_contiguous(added),
            on_huge_pages(first.new_empty((first.shape[0], weight.shape[0], *first.shape[2:]))),
        )

    def job(self, activation: str) -> _C.ConvThin:
        """What the core's launchers take; the tensors have to outlive it."""
        shape = self.out.shape
        extent, kernel = triple(shape[2:], 1), triple(self.weight.shape[2:], 1)
        if kernel == (1, 1, 1):  # one long row: no edges in between
            extent = (1, 1, extent[0] * extent[1] * extent[2])
        return _C.ConvThin(
            is_double(self.out),
            shape[0],
            extent,
            [_source(x) for x in self.parts],
            None if self.added is None else _source(self.added),
            shape[1],
            kernel,
            self.weight.data_ptr(),
            0 if self.bias is None else self.bias.data_ptr(),
            activation,
            self.out.data_ptr(),
        )


def spatially_contiguous(x: Tensor) -> Tensor:
    """A tensor whose spatial axes lie in order without gaps; batch and channels may lie anyhow."""
    return x if x[:1, :1].is_contiguous() else x.contiguous()


def _source(x: Tensor) -> tuple[int, int, int, int]:
    return x.data_ptr(), x.shape[1], x.stride(0), x.stride(1)


@register_fake("conv_thin")
def _(
    inputs: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    added: Tensor | None,
    activation: str,
) -> Tensor:
    first = inputs[0]
    return first.new_empty((first.shape[0], weight.shape[0], *first.shape[2:]))


def activation_slope(activation: str, out: Tensor, grad: Tensor) -> Tensor:
    """The gradient before an activation, from its result and the gradient after it."""
    if activation == "relu":
        return torch.where(out > 0, grad, 0)
    if activation == "softplus":  # sigmoid(t) = 1 - exp(-softplus(t))
        return grad * -torch.expm1(-out)
    return grad


def _context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    parts, weight, _, added, ctx.activation = inputs
    ctx.parts = len(parts)
    ctx.with_added = added is not None
    ctx.save_for_backward(*parts, weight, output, *([added] if ctx.with_added else []))


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    parts = ctx.saved_tensors[: ctx.parts]
    weight, out = ctx.saved_tensors[ctx.parts : ctx.parts + 2]
    added = ctx.saved_tensors[-1] if ctx.with_added else None
    needs_parts, needs_weight, needs_bias, needs_added, _ = ctx.needs_input_grad
    grad = activation_slope(ctx.activation, out, grad)
    axes = list(range(2, weight.ndim))
    grad_parts: list[Tensor | None] = [None] * ctx.parts
    grad_weight = grad_bias = grad_added = None
    if any(needs_parts) or needs_added:
        mirrored = weight.flip(axes).transpose(0, 1)
        grad_input = conv_thin([grad], mirrored, None, None, "none")
        pieces = grad_input.split([x.shape[1] for x in parts], 1)
        grad_parts = [g if n else None for g, n in zip(pieces, needs_parts, strict=True)]
        grad_added = grad_input.sum(1, keepdim=True) if needs_added else None
    if needs_weight:
        grad_weight = _weight_gradient(parts, added, weight, grad)
    if needs_bias:
        grad_bias = grad.sum([0, *axes])
    return grad_parts, grad_weight, grad_bias, grad_added, None


def _weight_gradient(
    parts: Sequence[Tensor], added: Tensor | None, weight: Tensor, grad: Tensor
) -> Tensor:
    x = torch.cat(list(parts), 1)
    if added is not None:
        x = x + added
    ndim = weight.ndim - 2
    one, zero = [1] * ndim, [0] * ndim
    padding = [k // 2 for k in weight.shape[2:]]
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, one, padding, one, False, zero, 1, [False, True, False]
    )[1]


register_autograd("conv_thin", _backward, _context)
register_autocast_float32("conv_thin")
