# SPDX-License-Identifier: BSD-3-Clause
"""numpy, CuPy and torch arrays in, tensors inside, the same kind out, without a copy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otfuse import _checks


def to_tensor(function: str, name: str, array: Any) -> Tensor:
    """A tensor that shares the array's memory where the layout allows it."""
    if isinstance(array, Tensor):
        tensor = array
    elif isinstance(array, np.ndarray | np.generic):
        tensor = _from_numpy(function, name, np.asarray(array))
    elif hasattr(array, "__dlpack__"):
        tensor = torch.utils.dlpack.from_dlpack(array)
    else:
        raise TypeError(
            f"{function}: {name} must be a numpy, CuPy or torch array, got {type(array).__name__}"
        )
    _checks.real_dtype(function, name, tensor)
    _checks.dense(function, name, tensor)
    return tensor


def listed(function: str, name: str, values: Any) -> Tensor:
    """As to_tensor, of numbers and lists of them too."""
    if hasattr(values, "__dlpack__"):
        return to_tensor(function, name, values)
    tensor = torch.as_tensor(values)
    _checks.real_dtype(function, name, tensor)
    return tensor


def _from_numpy(function: str, name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "biufc" or array.dtype.char in "gG":  # g: torch's floats end at 64
        raise TypeError(
            f"{function}: {name} must hold numbers of a type that torch has, got {array.dtype}; "
            "convert it with .astype(np.float32)"
        )
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    odd = any(s < 0 or s % native.itemsize for s in native.strides)
    if odd or not native.flags.writeable:
        native = native.copy()  # torch knows no negative strides, no parts of records, no read-only
    return torch.from_numpy(native)


def back_to_kind(array: Any) -> Callable[[Tensor], Any]:
    """What turns a result into the kind of array that came in."""
    if isinstance(array, Tensor):
        return lambda result: result
    if isinstance(array, np.ndarray | np.generic):
        return lambda result: result.detach().numpy()
    module = importlib.import_module(type(array).__module__.partition(".")[0])
    return module.from_dlpack


def working_dtype(image: Tensor) -> torch.dtype:
    """float64 stays; everything else is computed in float32."""
    return torch.float64 if image.dtype == torch.float64 else torch.float32


def fits_fused_loop(*tensors: Tensor | None) -> bool:
    """Whether a loop of the core that has neither a CUDA body nor a derivative can serve."""
    given = [t for t in tensors if t is not None]
    return all(_checks.values_visible(t) and t.device.type == "cpu" for t in given) and not (
        torch.is_grad_enabled() and any(t.requires_grad for t in given)
    )


def without_values(shape: Sequence[int], *sources: Tensor) -> Tensor:
    """A result that nothing adds to, differentiable in its sources: torch.fft bears no empty batch.

    Sources are empty where the shape is not.
    """
    out = sources[0].new_zeros(tuple(shape))
    for source in sources:
        out = out + source.sum()
    return out


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The common shape, as torch.broadcast_shapes gives it without importing sympy.

    Raises
    ------
    ValueError
        If there is none.
    """
    ndim = max(len(shape) for shape in shapes)
    common = [1] * ndim
    for shape in shapes:
        for axis, n in enumerate(shape, ndim - len(shape)):
            if n != 1 and common[axis] not in (1, n):
                raise ValueError(f"shapes {', '.join(str(tuple(s)) for s in shapes)}")
            common[axis] = n if n != 1 else common[axis]
    return tuple(common)
