# SPDX-License-Identifier: BSD-3-Clause
"""How close a restoration is to a known truth: PSNR, SSIM and correlation."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from otfuse.functional._arrays import listed

# Wang et al. 2004: the constants and the window of the index as everybody quotes it.
_K1, _K2 = 0.01, 0.03
_GAUSSIAN_SIGMA, _GAUSSIAN_TAPS = 1.5, 11
_UNIFORM_TAPS = 7


def psnr(truth: Any, result: Any, scale: bool = True) -> float:
    """Return the peak signal-to-noise ratio in decibels, `10 log10(range^2 / mean square error)`.

    The range is that of the truth, maximum minus minimum, whatever the result holds.

    Parameters
    ----------
    truth, result : array, same shape
        What was there and what was restored.
    scale : bool
        First multiply the result by the factor that brings it closest to the truth (least
        squares): a restoration is known up to the exposure.

    Returns
    -------
    float  infinite if the two agree exactly.

    Raises
    ------
    ValueError  if the shapes differ or the truth is constant.
    """
    truth, result = _pair("psnr", truth, result, scale)
    error = float((truth - result).square().mean())
    extent = _extent("psnr", truth)
    return math.inf if error == 0 else 10 * math.log10(extent**2 / error)


def ssim(truth: Any, result: Any, scale: bool = True, window: str = "gaussian") -> float:
    """Return the structural similarity index, averaged over the volume.

    The window has as many axes as the arrays and stays inside them; the range is that of the
    truth.

    Parameters
    ----------
    truth, result : array, same shape
        What was there and what was restored.
    scale : bool
        First scale the result to the truth by least squares.
    window : "gaussian" or "uniform"
        Gaussian of standard deviation 1.5 over 11 voxels, or a mean over 7; fewer along an axis
        that is shorter.

    Returns
    -------
    float  1 if the two agree exactly.

    Raises
    ------
    ValueError  if the shapes differ, the truth is constant or the window is unknown.

    References
    ----------
    Wang, Bovik, Sheikh & Simoncelli 2004, IEEE Trans. Image Process. 13, 600.
    """
    truth, result = _pair("ssim", truth, result, scale)
    if window not in ("gaussian", "uniform"):
        raise ValueError(f"ssim: window must be 'gaussian' or 'uniform', got {window!r}")
    extent = _extent("ssim", truth)
    low, high = (_K1 * extent) ** 2, (_K2 * extent) ** 2
    # About a common offset the variances lose fewer digits.
    offset = truth.mean()
    x, y = truth - offset, result - offset
    mean_x, mean_y = _local_mean(x, window), _local_mean(y, window)
    var_x = _local_mean(x * x, window) - mean_x**2
    var_y = _local_mean(y * y, window) - mean_y**2
    cov = _local_mean(x * y, window) - mean_x * mean_y
    mean_x, mean_y = mean_x + offset, mean_y + offset
    luminance = (2 * mean_x * mean_y + low) / (mean_x**2 + mean_y**2 + low)
    structure = (2 * cov + high) / (var_x + var_y + high)
    return float((luminance * structure).mean())


def correlation(truth: Any, result: Any) -> float:
    """Return Pearson's correlation coefficient, which no scale or offset changes.

    Parameters
    ----------
    truth, result : array, same shape
        What was there and what was restored.

    Returns
    -------
    float  between -1 and 1; 0 if the result is constant.

    Raises
    ------
    ValueError  if the shapes differ or the truth is constant.
    """
    truth, result = _pair("correlation", truth, result, False)
    _extent("correlation", truth)
    x, y = truth - truth.mean(), result - result.mean()
    spread = float(x.norm() * y.norm())
    return float((x * y).sum()) / spread if spread > 0 else 0.0


def _pair(function: str, truth: Any, result: Any, scale: bool) -> tuple[Tensor, Tensor]:
    """Return both as float64, the result scaled to the truth if asked."""
    x = listed(function, "truth", truth).detach().double()
    y = listed(function, "result", result).detach().to(x)
    if x.shape != y.shape or x.numel() == 0:
        raise ValueError(
            f"{function}: result must have the shape of truth and at least one value, "
            f"got {tuple(y.shape)} and {tuple(x.shape)}"
        )
    power = (y * y).sum()
    if scale and power > 0:
        y = y * ((x * y).sum() / power)
    return x, y


def _extent(function: str, truth: Tensor) -> float:
    extent = float(truth.max() - truth.min())
    if not (math.isfinite(extent) and extent > 0):
        raise ValueError(f"{function}: truth must vary and be finite, got a range of {extent:g}")
    return extent


def _local_mean(values: Tensor, window: str) -> Tensor:
    """Return the windowed means wherever the window lies inside the array."""
    for axis, n in enumerate(values.shape):
        taps = _taps(n, window)
        kept = n - len(taps) + 1
        total = values.narrow(axis, 0, kept) * taps[0]
        for i, tap in enumerate(taps[1:], 1):
            total.add_(values.narrow(axis, i, kept), alpha=tap)
        values = total
    return values


def _taps(n: int, window: str) -> list[float]:
    longest = n if n % 2 else n - 1
    if window == "uniform":
        count = min(_UNIFORM_TAPS, longest)
        return [1 / count] * count
    half = min(_GAUSSIAN_TAPS, longest) // 2
    taps = [math.exp(-0.5 * (i / _GAUSSIAN_SIGMA) ** 2) for i in range(-half, half + 1)]
    return [tap / sum(taps) for tap in taps]
