# SPDX-License-Identifier: BSD-3-Clause
"""The two pointwise halves of a Richardson-Lucy iteration, fused."""

from __future__ import annotations

from typing import Any

import torch

from otfuse import _checks, ops
from otfuse.functional._arrays import back_to_kind, broadcast_shapes, to_tensor, working_dtype


def rl_ratio(
    image: Any, reblurred: Any, background: Any = 0.0, *, floor: float = 1e-6, mode: str = "clamp"
) -> Any:
    """What was seen over what was expected: the ratio of a Richardson-Lucy iteration.

    image / max(reblurred + background, floor); with mode "add", the Richardson-Lucy network's
    image / (reblurred + background + floor), 0 where that is 0.

    Parameters
    ----------
    image, reblurred : arrays
        Shapes that broadcast. Unit: that of the image.
    background : float or array
        Expected light that is not in the estimate, in the image's unit.
    floor : float
        Smallest divisor ("clamp"), or what is added to it ("add"); not negative.
    mode : {"clamp", "add"}

    Returns
    -------
    array
        The kind of `image`. Differentiable in image, reblurred and background.

    Raises
    ------
    ValueError
        If shapes do not broadcast, devices differ, or floor is negative or not finite.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Richardson 1972; Lucy 1974; Li et al., Nat. Methods 19, 1427 (2022).
    """
    _checks.one_of("rl_ratio", "mode", mode, ("clamp", "add"))
    floor = _checks.finite_number("rl_ratio", "floor", floor)
    if floor < 0:
        raise ValueError(f"rl_ratio: floor must not be negative, got {floor:g}")
    y = to_tensor("rl_ratio", "image", image)
    y = y.to(working_dtype(y))
    if isinstance(background, int | float):
        background = y.new_full((), background)
    x = _like(y, "rl_ratio", "reblurred", reblurred)
    b = _like(y, "rl_ratio", "background", background)
    y, x, b = _broadcast("rl_ratio", y, x, b)
    return back_to_kind(image)(ops.rl_ratio(y, x, b, floor, mode == "add"))


def rl_update(estimate: Any, correction: Any, weight: Any = None) -> Any:
    """estimate * correction * weight: the update of a Richardson-Lucy iteration.

    Parameters
    ----------
    estimate, correction : arrays
        Shapes that broadcast.
    weight : array, optional
        1 / H^T 1 where light is lost at edges or masks; by default 1.

    Returns
    -------
    array
        The kind of `estimate`. Differentiable in all three.

    Raises
    ------
    ValueError
        If shapes do not broadcast or devices differ.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Richardson 1972; Lucy 1974.
    """
    x = to_tensor("rl_update", "estimate", estimate)
    x = x.to(working_dtype(x))
    c = _like(x, "rl_update", "correction", correction)
    if weight is None:
        x, c = _broadcast("rl_update", x, c)
        return back_to_kind(estimate)(ops.rl_update(x, c, None))
    x, c, w = _broadcast("rl_update", x, c, _like(x, "rl_update", "weight", weight))
    return back_to_kind(estimate)(ops.rl_update(x, c, w))


def _like(first: torch.Tensor, function: str, name: str, array: Any) -> torch.Tensor:
    tensor = to_tensor(function, name, array)
    _checks.same_device(function, name, tensor, first)
    return tensor.to(first.dtype)


def _broadcast(function: str, *arrays: torch.Tensor) -> list[torch.Tensor]:
    try:
        shape = broadcast_shapes(*(a.shape for a in arrays))
    except ValueError as error:
        raise ValueError(f"{function}: arrays must broadcast, got {error}") from None
    return [a.expand(shape) for a in arrays]
