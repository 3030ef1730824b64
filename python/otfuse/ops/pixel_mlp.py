# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::pixel_mlp: dense layers on the channels of every pixel, relu after each.

Nothing between the layers is kept: the gradient computes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import is_double, on_huge_pages
from otfuse.ops._registry import (
    operator,
    register_autocast_float32,
    register_autograd,
    register_fake,
)
from otfuse.ops.conv_thin import activation_slope, conv_thin


@operator("pixel_mlp", "(Tensor input, Tensor[] weights, Tensor[] biases) -> Tensor")
def pixel_mlp(input: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The last layer's values; weights[i] is (channels_out, channels_in)."""
    call = Call.of(input, weights, biases)
    _C.pixel_mlp_cpu(call.job(), torch.get_num_threads())
    return call.out


class Call(NamedTuple):
    """The tensors of a call as the core takes them, and one for its result."""

    input: Tensor
    weights: list[Tensor]
    biases: list[Tensor]
    out: Tensor

    @classmethod
    def of(cls, input: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Call:
        """Copies of those that do not lie as they should."""
        return cls(
            input.contiguous(),
            [w.contiguous() for w in weights],
            [b.contiguous() for b in biases],
            on_huge_pages(
                input.new_empty((input.shape[0], weights[-1].shape[0], *input.shape[2:]))
            ),
        )

    def job(self) -> _C.PixelMlp:
        """What the core's launchers take; the tensors have to outlive it."""
        return _C.PixelMlp(
            is_double(self.input),
            self.input.shape[0],
            self.input.shape[2:].numel(),
            self.input.data_ptr(),
            [
                (w.data_ptr(), b.data_ptr(), w.shape[1], w.shape[0])
                for w, b in zip(self.weights, self.biases, strict=True)
            ],
            self.out.data_ptr(),
        )


@register_fake("pixel_mlp")
def _(input: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    return input.new_empty((input.shape[0], weights[-1].shape[0], *input.shape[2:]))


def _context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weights, biases = inputs
    ctx.layers = len(weights)
    ctx.save_for_backward(x, *weights, *biases)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, n = ctx.saved_tensors[0], ctx.layers
    weights, biases = ctx.saved_tensors[1 : 1 + n], ctx.saved_tensors[1 + n :]
    needs_input, needs_weights, needs_biases = ctx.needs_input_grad
    values = [x[..., None].flatten(2)]
    for w, b in zip(weights, biases, strict=True):
        values.append(conv_thin([values[-1]], w[:, :, None], b, None, "relu"))
    grad = grad[..., None].flatten(2)
    grad_weights: list[Tensor | None] = [None] * n
    grad_biases: list[Tensor | None] = [None] * n
    for i in reversed(range(n)):
        grad = activation_slope("relu", values[i + 1], grad)
        if needs_weights[i]:
            grad_weights[i] = torch.matmul(grad, values[i].transpose(1, 2)).sum(0)
        if needs_biases[i]:
            grad_biases[i] = grad.sum((0, 2))
        grad = conv_thin([grad], weights[i].t()[:, :, None], None, None, "none")
    grad_input = grad.reshape(x.shape) if needs_input else None
    return grad_input, grad_weights, grad_biases


register_autograd("pixel_mlp", _backward, _context)
register_autocast_float32("pixel_mlp")
