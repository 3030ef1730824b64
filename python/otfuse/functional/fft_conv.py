# SPDX-License-Identifier: BSD-3-Clause
"""Drop-in replacements of torch.nn.functional.conv1d/2d/3d for large kernels.

One kernel per channel goes through the engine. Where channels mix, their spectra are summed by
torch.fft, which transforms each channel once instead of once per pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from otfuse import ops
from otfuse.functional._arrays import without_values, working_dtype
from otfuse.functional.plan import smooth_extent

Sizes = int | Sequence[int]


def fft_conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: str | Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv1d` through the FFT; see `fft_conv3d`."""
    return _fft_conv("fft_conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def fft_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: str | Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d` through the FFT; see `fft_conv3d`."""
    return _fft_conv("fft_conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def fft_conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: str | Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv3d` through the FFT, for kernels too large for direct sums.

    Same arguments, same result, same gradients: a cross-correlation, zeros outside the input.

    Parameters
    ----------
    input : Tensor, shape (batch, channels, nz, ny, nx) or (channels, nz, ny, nx)
    weight : Tensor, shape (out_channels, channels / groups, kz, ky, kx)
    bias : Tensor, shape (out_channels,), optional
    stride, padding, dilation : int or sequence of int
        One value or one per axis; padding also "valid" or "same".
    groups : int

    Returns
    -------
    Tensor, shape (batch, out_channels, oz, oy, ox)
        Differentiable in input, weight and bias.

    Raises
    ------
    ValueError
        If shapes, groups or padding do not fit each other, or the kernel exceeds the padded input.
    TypeError
        If an argument is not a real tensor.
    """
    return _fft_conv("fft_conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _fft_conv(
    function: str,
    ndim: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: str | Sizes,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    _check_tensors(function, ndim, input, weight, bias, groups)
    x = input if input.ndim == ndim + 2 else input.unsqueeze(0)
    strides = _sizes(function, "stride", stride, ndim, 1)
    steps = _sizes(function, "dilation", dilation, ndim, 1)
    kernel = _dilate(weight.to(x.dtype), steps)
    widths = _padding(function, padding, kernel.shape[-ndim:], strides, ndim)
    dtype = working_dtype(x)
    out = _correlate(function, x.to(dtype), kernel.to(dtype), widths, groups)
    out = out[(slice(None), slice(None), *(slice(None, None, s) for s in strides))]
    if bias is not None:
        out = out + bias.reshape(-1, *[1] * ndim)
    out = (out if input.is_floating_point() else out.round()).to(input.dtype)
    return out if input.ndim == ndim + 2 else out.squeeze(0)


def _check_tensors(
    function: str, ndim: int, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> None:
    given = {"input": input, "weight": weight, **({} if bias is None else {"bias": bias})}
    for name, array in given.items():
        if not isinstance(array, Tensor) or array.is_complex():
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{function}: {name} must be a real tensor, got {kind}")
        if array.device != input.device:
            raise ValueError(
                f"{function}: {name} must be on the input's device {input.device}, "
                f"got {array.device}"
            )
    if input.ndim not in (ndim + 1, ndim + 2) or weight.ndim != ndim + 2:
        raise ValueError(
            f"{function}: input must have {ndim + 1} or {ndim + 2} axes and weight {ndim + 2}, "
            f"got shapes {tuple(input.shape)} and {tuple(weight.shape)}"
        )
    channels, outs = input.shape[-ndim - 1], weight.shape[0]
    if groups < 1 or outs % groups or channels != weight.shape[1] * groups:
        raise ValueError(
            f"{function}: weight must have out_channels divisible by groups and channels / groups "
            f"input channels, got weight {tuple(weight.shape)}, {channels} channels and "
            f"groups {groups}"
        )
    if bias is not None and tuple(bias.shape) != (outs,):
        raise ValueError(f"{function}: bias must have shape ({outs},), got {tuple(bias.shape)}")


def _sizes(function: str, name: str, value: Sizes, ndim: int, least: int) -> tuple[int, ...]:
    sizes = tuple(value) if hasattr(value, "__iter__") else (value,)
    if len(sizes) == 1:
        sizes *= ndim
    if len(sizes) != ndim or any(isinstance(s, float) or s < least for s in sizes):
        raise ValueError(
            f"{function}: {name} must be one or {ndim} whole numbers of at least {least}, "
            f"got {value!r}"
        )
    return sizes


def _padding(
    function: str,
    padding: str | Sizes,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    ndim: int,
) -> list[tuple[int, int]]:
    if padding == "valid":
        return [(0, 0)] * ndim
    if padding == "same":
        if any(s != 1 for s in strides):
            raise ValueError(f"{function}: padding 'same' must come with stride 1, got {strides}")
        return [((k - 1) // 2, k // 2) for k in kernel_shape]
    if isinstance(padding, str):
        raise ValueError(f"{function}: padding must be 'valid', 'same' or sizes, got {padding!r}")
    return [(p, p) for p in _sizes(function, "padding", padding, ndim, 0)]


def _dilate(weight: Tensor, steps: Sequence[int]) -> Tensor:
    """Zeros between the kernel's values."""
    if all(s == 1 for s in steps):
        return weight
    spatial = [(k - 1) * s + 1 for k, s in zip(weight.shape[2:], steps, strict=True)]
    out = weight.new_zeros((*weight.shape[:2], *spatial))
    out[(slice(None), slice(None), *(slice(None, None, s) for s in steps))] = weight
    return out


def _correlate(
    function: str, x: Tensor, kernel: Tensor, widths: list[tuple[int, int]], groups: int
) -> Tensor:
    ndim = len(widths)
    padded = [n + a + b for n, (a, b) in zip(x.shape[-ndim:], widths, strict=True)]
    shape = [n - k + 1 for n, k in zip(padded, kernel.shape[-ndim:], strict=True)]
    if min(shape) < 1:
        raise ValueError(
            f"{function}: weight must not exceed the padded input, got kernel "
            f"{tuple(kernel.shape[-ndim:])} and padded input {tuple(padded)}"
        )
    before = [a for a, _ in widths]
    if groups == x.shape[1] == kernel.shape[0]:
        return _each_channel(x, kernel, padded, before, shape)
    return _mix_channels(x, kernel, padded, before, shape, groups)


def _each_channel(
    x: Tensor, kernel: Tensor, padded: list[int], before: list[int], shape: list[int]
) -> Tensor:
    zero = [0] * len(padded)
    windows = (padded, True, before, zero, zero, shape)
    out = ops.fft_convolve(x.flatten(0, 1), kernel[:, 0], None, 1, *windows, True)
    return out.unflatten(0, x.shape[:2])


def _mix_channels(
    x: Tensor,
    kernel: Tensor,
    padded: list[int],
    before: list[int],
    shape: list[int],
    groups: int,
) -> Tensor:
    if x.numel() == 0:
        return without_values((x.shape[0], kernel.shape[0], *shape), x, kernel)
    grid, ndim = [smooth_extent(n) for n in padded], len(padded)
    axes = tuple(range(-ndim, 0))
    pads = [
        p
        for n, g, a in zip(x.shape[:1:-1], grid[::-1], before[::-1], strict=True)
        for p in (a, g - n - a)
    ]
    spectrum = torch.fft.rfftn(torch.nn.functional.pad(x, pads), dim=axes)
    otf = torch.fft.rfftn(kernel, s=tuple(grid), dim=axes).conj()
    count = math.prod(spectrum.shape[-ndim:])
    split = spectrum.reshape(x.shape[0], groups, -1, count)
    weights = otf.reshape(groups, kernel.shape[0] // groups, -1, count)
    mixed = torch.einsum("bgik,goik->bgok", split, weights)
    mixed = mixed.reshape(x.shape[0], kernel.shape[0], *spectrum.shape[-ndim:])
    out = torch.fft.irfftn(mixed, s=tuple(grid), dim=axes)
    return out[(slice(None), slice(None), *(slice(0, n) for n in shape))]
