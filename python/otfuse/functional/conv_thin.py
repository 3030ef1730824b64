# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions of few channels with what networks put around them, fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype

ACTIVATIONS = ("none", "relu", "softplus")
_MOST_OFFSETS = 81  # of a kernel in z and y


def conv_thin(
    inputs: Any,
    weight: Any,
    bias: Any = None,
    *,
    added: Any = None,
    activation: str = "none",
) -> Any:
    """Convolve few channels in one pass: every input read once, the result written once.

    activation(bias + weight * (inputs side by side + added)), zeros beyond the edges, extents
    kept. `weight` is correlated, not mirrored, as in `torch.nn.functional.conv2d`. Made for 1 to
    about 64 channels; kernels with 3 or 5 rows take half the multiplications (minimal filtering
    along y; rounding errors are up to twice those of the plain sum).

    Parameters
    ----------
    inputs : array or sequence of arrays, shape (batch, channels, [[z,] y,] x)
        Side by side they have the channels of `weight`; differing in channels only.
    weight : array, shape (channels_out, channels_in, [[kz,] ky,] kx)
        Odd extents; its number of axes tells how many are spatial.
    bias : array, shape (channels_out,), optional
    added : array, shape (batch, 1, [[z,] y,] x), optional
        Added to every channel of the input.
    activation : {"none", "relu", "softplus"}

    Returns
    -------
    array, shape (batch, channels_out, [[z,] y,] x)
        The kind of the (first) input. Differentiable in all arrays.

    Raises
    ------
    ValueError
        If shapes do not fit, an extent of the kernel is even, a spatial axis is empty, or arrays
        are on several devices.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Winograd, Arithmetic Complexity of Computations (1980); Lavin & Gray, CVPR 2016.
    """
    _checks.one_of("conv_thin", "activation", activation, ACTIVATIONS)
    several = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    if not several:
        raise ValueError("conv_thin: inputs must be at least one array, got none")
    first = to_tensor("conv_thin", "inputs", several[0])
    first = first.to(working_dtype(first))
    parts = [first, *(_like(first, "inputs", x) for x in several[1:])]
    w = _like(first, "weight", weight)
    b = None if bias is None else _like(first, "bias", bias)
    a = None if added is None else _like(first, "added", added)
    _check_weight(w)
    _check_inputs(parts, w)
    _check_shape("bias", b, (w.shape[0],))
    _check_shape("added", a, (first.shape[0], 1, *first.shape[2:]))
    return back_to_kind(several[0])(ops.conv_thin(parts, w, b, a, activation))


def pixel_mlp(input: Any, weights: Sequence[Any], biases: Sequence[Any]) -> Any:
    """Dense layers on the channels of every pixel, relu after each, in one pass.

    x <- relu(weights[i] x + biases[i]) for i = 0, 1, ...; nothing between the layers is written.

    Parameters
    ----------
    input : array, shape (batch, channels, ...)
    weights : sequence of arrays, shape (channels_out, channels_in)
        At least one; each takes the channels that the one before gives.
    biases : sequence of arrays, shape (channels_out,)

    Returns
    -------
    array, shape (batch, channels of the last layer, ...)
        The kind of `input`. Differentiable in all arrays; the gradient computes the inner layers
        again.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no layer, or arrays are on several devices.
    TypeError
        If an array is complex or does not hold numbers.
    """
    x = to_tensor("pixel_mlp", "input", input)
    x = x.to(working_dtype(x))
    if x.ndim < 2:
        raise ValueError(
            f"pixel_mlp: input must have axes (batch, channels, ...), got shape {tuple(x.shape)}"
        )
    if len(weights) == 0 or len(weights) != len(biases):
        raise ValueError(
            "pixel_mlp: weights and biases must be as many, at least one, got "
            f"{len(weights)} and {len(biases)}"
        )
    ws = [_like(x, "weights", w, "pixel_mlp") for w in weights]
    bs = [_like(x, "biases", b, "pixel_mlp") for b in biases]
    channels = x.shape[1]
    for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
        if w.ndim != 2 or w.shape[1] != channels or 0 in w.shape:
            raise ValueError(
                f"pixel_mlp: weights[{i}] must have shape (channels_out, {channels}), got "
                f"{tuple(w.shape)}"
            )
        channels = w.shape[0]
        _check_shape(f"biases[{i}]", b, (channels,), "pixel_mlp")
    return back_to_kind(input)(ops.pixel_mlp(x, ws, bs))


def _like(first: Tensor, name: str, array: Any, function: str = "conv_thin") -> Tensor:
    tensor = to_tensor(function, name, array)
    _checks.same_device(function, name, tensor, first)
    return tensor.to(first.dtype)


def _check_weight(weight: Tensor) -> None:
    shape = tuple(weight.shape)
    if weight.ndim not in (3, 4, 5) or 0 in shape:
        raise ValueError(
            "conv_thin: weight must have shape (channels_out, channels_in, [[kz,] ky,] kx), "
            f"got {shape}"
        )
    if any(k % 2 == 0 for k in shape[2:]):
        raise ValueError(
            f"conv_thin: weight must have odd extents, got {shape[2:]}; "
            "pad it with zeros, or use torch's convolution"
        )
    if weight[0, 0, ..., 0].numel() > _MOST_OFFSETS:
        raise ValueError(
            f"conv_thin: weight must span at most {_MOST_OFFSETS} rows, got {shape[2:]}; "
            "use fft_conv2d or fft_conv3d for large kernels"
        )


def _check_inputs(parts: Sequence[Tensor], weight: Tensor) -> None:
    first = parts[0]
    if any(x.ndim != weight.ndim for x in parts):
        raise ValueError(
            f"conv_thin: inputs must have {weight.ndim} axes as weight has, got shapes "
            + ", ".join(str(tuple(x.shape)) for x in parts)
        )
    common = (first.shape[0], *first.shape[2:])
    if any((x.shape[0], *x.shape[2:]) != common for x in parts):
        raise ValueError(
            "conv_thin: inputs must differ in channels only, got shapes "
            + ", ".join(str(tuple(x.shape)) for x in parts)
        )
    if 0 in first.shape[2:]:
        raise ValueError(
            f"conv_thin: inputs must not have an empty axis, got shape {tuple(first.shape)}"
        )
    channels = sum(x.shape[1] for x in parts)
    if channels != weight.shape[1]:
        raise ValueError(
            f"conv_thin: inputs must have the {weight.shape[1]} channels that weight takes, "
            f"got {channels}"
        )


def _check_shape(
    name: str, array: Tensor | None, shape: Sequence[int], function: str = "conv_thin"
) -> None:
    if array is not None and tuple(array.shape) != tuple(shape):
        raise ValueError(
            f"{function}: {name} must have shape {tuple(shape)}, got {tuple(array.shape)}"
        )
