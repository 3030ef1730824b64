# SPDX-License-Identifier: BSD-3-Clause
"""Norm-wise comparison that says what differs and where."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# |a - b| <= k eps log2(n) |b|: the rms error of a transform of n numbers grows as eps log2(n), and
# a convolution takes two of them and the spectrum of the PSF. Largest seen with k = 1: 1.2 times
# that, in gradients at prime extents, whose transforms are convolutions themselves.
TOLERANCE = {torch.float32: 2.0, torch.float64: 2.0}


def as_tensor(array: object) -> Tensor:
    """Return the array as a detached float64 tensor on the CPU."""
    tensor = array if isinstance(array, Tensor) else torch.as_tensor(np.asarray(array))
    return tensor.detach().cpu().to(torch.float64)


def tolerance(dtype: torch.dtype, n: int) -> float:
    """Return the relative error allowed to arrays of `n` numbers."""
    return TOLERANCE[dtype] * torch.finfo(dtype).eps * math.log2(max(n, 4))


def assert_close(
    actual: object,
    expected: object,
    name: str,
    *,
    factor: float = 1.0,
    dtype: torch.dtype | None = None,
    n: int | None = None,
) -> None:
    """Fail with name, worst index and both values where the norm of the difference is too large.

    `factor` multiplies the tolerance of the dtype (that of `actual` if not given); `n` is the
    number of voxels of the transform where that is larger than the array.
    """
    dtype = dtype or torch.as_tensor(actual).dtype
    a, b = as_tensor(actual), as_tensor(expected)
    assert a.shape == b.shape, f"{name}: shape {tuple(a.shape)}, expected {tuple(b.shape)}"
    assert bool(torch.isfinite(a).all()), f"{name}: not finite"
    if a.numel() == 0:
        return
    difference, scale = a - b, float(b.norm())
    allowed = factor * tolerance(dtype, n or a.numel()) * (scale or 1.0)
    if float(difference.norm()) <= allowed:
        return
    worst = torch.unravel_index(difference.abs().argmax(), a.shape)
    index = tuple(int(i) for i in worst)
    raise AssertionError(
        f"{name}: |a - b| = {float(difference.norm()):.3e} over {allowed:.3e} "
        f"(relative {float(difference.norm()) / (scale or 1.0):.3e}); "
        f"worst at {index}: {float(a[index]):.9g}, expected {float(b[index]):.9g}"
    )


def assert_same(actual: object, expected: object, name: str) -> None:
    """Fail where two arrays are not equal bit for bit."""
    a, b = torch.as_tensor(actual), torch.as_tensor(expected)
    assert a.dtype == b.dtype, f"{name}: {a.dtype}, expected {b.dtype}"
    assert a.shape == b.shape, f"{name}: shape {tuple(a.shape)}, expected {tuple(b.shape)}"
    unequal = (a != b).nonzero()
    if len(unequal):
        index = tuple(int(i) for i in unequal[0])
        raise AssertionError(
            f"{name}: {len(unequal)} of {a.numel()} differ; first at {index}: "
            f"{float(a[index]):.9g}, expected {float(b[index]):.9g}"
        )


def assert_adjoint(hx: Tensor, u: Tensor, x: Tensor, htu: Tensor, name: str) -> None:
    """Fail unless <Hx, u> = <x, H^T u>.

    Measured against the norms and not against the product, which may be near 0 by chance.
    """
    dtype, n = hx.dtype, max(hx.numel(), x.numel())
    hx, u, x, htu = (as_tensor(a) for a in (hx, u, x, htu))
    forward, backward = float((hx * u).sum()), float((x * htu).sum())
    scale = float(hx.norm() * u.norm()) / math.sqrt(hx.numel())
    error = abs(forward - backward) / scale
    # The rounding of n independent products adds up as its square root, which the scale has too.
    allowed = 8 * tolerance(dtype, n)
    assert error <= allowed, (
        f"{name}: <Hx, u> = {forward:.9g}, <x, H'u> = {backward:.9g}, "
        f"{error:.2e} over {allowed:.2e}"
    )
