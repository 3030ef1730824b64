# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::rl_ratio and otfuse::rl_update: elementwise, over tensors of one shape.

Their derivatives are written in plain torch, so that every order of them exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import is_double, on_huge_pages
from otfuse.ops._registry import (
    operator,
    register_autocast_float32,
    register_autograd,
    register_fake,
    register_vmap,
)
from otfuse.ops._vmap import mapped_first


@operator(
    "rl_ratio",
    "(Tensor image, Tensor reblurred, Tensor background, float floor, bool add) -> Tensor",
)
def rl_ratio(
    image: Tensor, reblurred: Tensor, background: Tensor, floor: float, add: bool
) -> Tensor:
    """image / max(reblurred + background, floor), or with `add` the RLN's division."""
    image, reblurred, background = (t.contiguous() for t in (image, reblurred, background))
    out = on_huge_pages(torch.empty_like(image))
    _ratio(image, reblurred, background, floor, add, out)
    return out


def _ratio(
    image: Tensor, reblurred: Tensor, background: Tensor, floor: float, add: bool, out: Tensor
) -> None:
    """All contiguous; `out` may be any of the others."""
    _C.rl_ratio_cpu(
        is_double(image),
        image.numel(),
        image.data_ptr(),
        reblurred.data_ptr(),
        background.data_ptr(),
        floor,
        add,
        out.data_ptr(),
        torch.get_num_threads(),
    )


@operator(
    "rl_ratio_",
    "(Tensor image, Tensor(a!) reblurred, Tensor background, float floor, bool add) -> ()",
)
def rl_ratio_(
    image: Tensor, reblurred: Tensor, background: Tensor, floor: float, add: bool
) -> None:
    """The ratio in the place of `reblurred`; all contiguous. On the CPU; no derivative."""
    _ratio(image, reblurred, background, floor, add, reblurred)


@register_fake("rl_ratio_")
def _(image: Tensor, *rest: Any) -> None:
    pass


@register_fake("rl_ratio")
def _(image: Tensor, reblurred: Tensor, background: Tensor, floor: float, add: bool) -> Tensor:
    return torch.empty_like(image, memory_format=torch.contiguous_format)


def _ratio_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, reblurred, background, ctx.floor, ctx.add = inputs
    ctx.save_for_backward(image, reblurred, background)


def _ratio_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    image, reblurred, background = ctx.saved_tensors
    expected = reblurred + background
    if ctx.add:
        divisor = expected + ctx.floor
        inverse = torch.where(divisor == 0, 0, 1 / torch.where(divisor == 0, 1, divisor))
        slope = inverse
    else:
        inverse = 1 / expected.clamp(min=ctx.floor)
        slope = torch.where(expected > ctx.floor, inverse, 0)
    grad_image = grad * inverse if ctx.needs_input_grad[0] else None
    grad_sum = None
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        grad_sum = -grad * image * inverse * slope
    return (
        grad_image,
        grad_sum if ctx.needs_input_grad[1] else None,
        grad_sum if ctx.needs_input_grad[2] else None,
        None,
        None,
    )


@operator("rl_update", "(Tensor estimate, Tensor correction, Tensor? weight) -> Tensor")
def rl_update(estimate: Tensor, correction: Tensor, weight: Tensor | None) -> Tensor:
    """estimate * correction * weight."""
    estimate, correction = estimate.contiguous(), correction.contiguous()
    weight = None if weight is None else weight.contiguous()
    out = on_huge_pages(torch.empty_like(estimate))
    _update(estimate, correction, weight, out, False)
    return out


def _update(
    estimate: Tensor, correction: Tensor, weight: Tensor | None, out: Tensor, clamp: bool
) -> None:
    """As _ratio."""
    _C.rl_update_cpu(
        is_double(estimate),
        estimate.numel(),
        estimate.data_ptr(),
        correction.data_ptr(),
        0 if weight is None else weight.data_ptr(),
        out.data_ptr(),
        torch.get_num_threads(),
        clamp,
    )


@operator("rl_update_", "(Tensor(a!) estimate, Tensor correction, Tensor? weight) -> ()")
def rl_update_(estimate: Tensor, correction: Tensor, weight: Tensor | None) -> None:
    """The update in the place of `estimate`, by the correction where that is not negative, else 0.

    All contiguous. On the CPU; no derivative.
    """
    _update(estimate, correction, weight, estimate, True)


@register_fake("rl_update_")
def _(estimate: Tensor, *rest: Any) -> None:
    pass


@register_fake("rl_update")
def _(estimate: Tensor, correction: Tensor, weight: Tensor | None) -> Tensor:
    return torch.empty_like(estimate, memory_format=torch.contiguous_format)


def _update_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _update_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    estimate, correction, weight = ctx.saved_tensors
    weighted = grad if weight is None else grad * weight
    return (
        weighted * correction if ctx.needs_input_grad[0] else None,
        weighted * estimate if ctx.needs_input_grad[1] else None,
        grad * estimate * correction if ctx.needs_input_grad[2] else None,
    )


def _expand(info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]) -> list[Any]:
    """Every tensor with the mapped dimension in front, at full size."""
    return [
        mapped_first(a, dim, info.batch_size) if isinstance(a, Tensor) else a
        for a, dim in zip(args, in_dims, strict=True)
    ]


def _vmap_with(op: Any) -> Callable[..., tuple[Tensor, int]]:
    return lambda info, dims, *args: (op(*_expand(info, dims, args)), 0)


register_autograd("rl_ratio", _ratio_backward, _ratio_context)
register_autograd("rl_update", _update_backward, _update_context)
register_autocast_float32("rl_ratio")
register_autocast_float32("rl_update")
register_vmap("rl_ratio", _vmap_with(rl_ratio))
register_vmap("rl_update", _vmap_with(rl_update))
