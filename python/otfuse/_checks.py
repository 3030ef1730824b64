# SPDX-License-Identifier: BSD-3-Clause
"""Checks of arguments, one function a rule; each message says the rule, the value, the remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor


def values_visible(array: Tensor) -> bool:
    """Whether a tensor's values may be looked at.

    Not while tracing, nor under functorch, nor while a CUDA graph is captured.
    """
    if torch.compiler.is_compiling() or array.device.type == "meta":
        return False
    if array.is_cuda and torch.cuda.is_current_stream_capturing():
        return False
    return not torch._C._are_functorch_transforms_active()


def values_at_hand(array: Tensor) -> bool:
    """Whether a look at a tensor's values costs no wait for the queue of a device."""
    return values_visible(array) and not array.is_cuda


def one_of(function: str, name: str, value: Any, allowed: Collection[Any]) -> None:
    """The value is one of a few."""
    if value not in allowed:
        listed = ", ".join(repr(a) for a in allowed)
        raise ValueError(f"{function}: {name} must be one of {listed}, got {value!r}")


def at_least(function: str, name: str, value: Any, least: int) -> None:
    """The value is a whole number and not below `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{function}: {name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{function}: {name} must be at least {least}, got {value}")


def finite_number(function: str, name: str, value: Any) -> float:
    """The value is a finite number; gives it as a float."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{function}: {name} must be a number, got {value!r}") from None
    if not abs(number) < math.inf:  # traceable, unlike math.isfinite
        raise ValueError(f"{function}: {name} must be finite, got {number}")
    return number


def real_dtype(function: str, name: str, array: Tensor) -> None:
    """The array holds real numbers."""
    if array.is_complex():
        raise TypeError(
            f"{function}: {name} must be real, got {array.dtype}; "
            "take its real part or its magnitude first"
        )


def dense(function: str, name: str, array: Tensor) -> None:
    """The array has a value in memory for each of its places."""
    if array.layout != torch.strided:
        raise TypeError(
            f"{function}: {name} must be dense, got layout {array.layout}; use .to_dense()"
        )


def spatial_axes(function: str, name: str, array: Tensor, ndim: int) -> None:
    """The array has `ndim` spatial axes, none of them empty."""
    if array.ndim < ndim:
        raise ValueError(
            f"{function}: {name} must have at least {ndim} axes, got shape {tuple(array.shape)}; "
            "give ndim= or a psf of the image's number of spatial axes"
        )
    if 0 in array.shape[array.ndim - ndim :]:
        raise ValueError(
            f"{function}: {name} must not have an empty axis, got shape {tuple(array.shape)}"
        )


def same_device(function: str, name: str, array: Tensor, other: Tensor) -> None:
    """The array is where the image is."""
    if array.device != other.device:
        raise ValueError(
            f"{function}: {name} must be on the image's device {other.device}, "
            f"got {array.device}; move it with .to()"
        )


def _extremes(array: Tensor) -> tuple[float, float]:
    low, high = torch.aminmax(array.detach())
    return low.item(), high.item()


def finite_values(function: str, name: str, array: Tensor) -> tuple[float, float]:
    """The array holds neither NaN nor infinity; gives its lowest and highest value."""
    low, high = _extremes(array) if array.numel() else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        count = int((~torch.isfinite(array)).sum())
        remedy = "" if name != "image" or function != "richardson_lucy" else " or hide with mask="
        raise ValueError(
            f"{function}: {name} must be finite, got {count} NaN or infinite values; "
            f"replace them{remedy}"
        )
    return low, high


def nonnegative_image(function: str, image: Tensor, name: str = "image") -> None:
    """An image of counts: finite, nowhere below zero."""
    low, _ = finite_values(function, name, image)
    if low < 0:
        raise ValueError(
            f"{function}: {name} must not be negative, lowest value {low:g}; "
            "subtract the camera offset into background= or clip"
        )


def light_psf(function: str, psf: Tensor, ndim: int, name: str = "psf") -> None:
    """A distribution of light: finite, nowhere below zero, not zero everywhere."""
    low, _ = finite_values(function, name, psf)
    if low < 0:
        raise ValueError(
            f"{function}: {name} must not be negative, lowest value {low:g}; "
            "subtract its background or clip it"
        )
    if bool((psf.detach().flatten(psf.ndim - ndim).sum(-1) <= 0).any()):
        raise ValueError(
            f"{function}: {name} must hold some light, got one that is zero everywhere"
        )


def fits(function: str, psf_shape: Sequence[int], image_shape: Sequence[int]) -> None:
    """A periodic image holds the whole PSF."""
    if any(k > n for k, n in zip(psf_shape, image_shape, strict=True)):
        raise ValueError(
            f"{function}: psf must not be larger than the image with boundary 'circular', got "
            f"psf {tuple(psf_shape)} and image {tuple(image_shape)}; "
            "crop the psf or use boundary='extended'"
        )
