# SPDX-License-Identifier: BSD-3-Clause
"""The Richardson-Lucy division and multiplication inside RLN, with a choice of gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otfuse.functional import rl_ratio, rl_update

GRADIENTS = ("exact", "published")


def divide(image: Tensor, blurred: Tensor, denominator: float, gradients: str) -> Tensor:
    """image / (blurred + denominator), 0 where the divisor is 0."""
    if gradients == "published":
        return _PublishedDivision.apply(image, blurred, denominator)
    return rl_ratio(image, blurred, floor=denominator, mode="add")


def multiply(estimate: Tensor, correction: Tensor, gradients: str) -> Tensor:
    """estimate * correction."""
    if gradients == "published":
        return _PublishedProduct.apply(estimate, correction)
    return rl_update(estimate, correction)


class _PublishedDivision(torch.autograd.Function):
    """m = image / (blurred + c), its derivatives taken as 1 and -m^2.

    The true ones are 1 / (blurred + c) and -m / (blurred + c).
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, blurred: Tensor, denominator: float) -> Tensor:
        ratio = rl_ratio(image, blurred, floor=denominator, mode="add")
        ctx.save_for_backward(ratio)
        return ratio

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (ratio,) = ctx.saved_tensors
        grad_image = grad if ctx.needs_input_grad[0] else None
        grad_blurred = -grad * ratio.square() if ctx.needs_input_grad[1] else None
        return grad_image, grad_blurred, None


class _PublishedProduct(torch.autograd.Function):
    """estimate * correction, its derivative in the estimate taken as 1."""

    @staticmethod
    def forward(ctx: Any, estimate: Tensor, correction: Tensor) -> Tensor:
        ctx.save_for_backward(estimate)
        return rl_update(estimate, correction)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (estimate,) = ctx.saved_tensors
        grad_estimate = grad if ctx.needs_input_grad[0] else None
        grad_correction = grad * estimate if ctx.needs_input_grad[1] else None
        return grad_estimate, grad_correction
