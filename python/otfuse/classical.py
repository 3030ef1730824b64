# SPDX-License-Identifier: BSD-3-Clause
"""Filters that know nothing of the PSF, as a baseline to compare deconvolution with.

They come from scikit-image: `pip install "otfuse[classical]"`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype


def unsharp_mask(image: Any, *, radius: float = 2.0, amount: float = 1.0) -> Any:
    """Return the image with what a Gaussian blur takes away added once more.

    `image + amount (image - blurred)`, negative values cut off.

    Parameters
    ----------
    image : array, shape (nz, ny, nx) or (ny, nx)
        Finite real numbers.
    radius : float
        Standard deviation of the Gaussian, voxels; positive.
    amount : float
        How much is added; not negative.

    Returns
    -------
    array, shape and kind of `image`, floating point.

    Raises
    ------
    RuntimeError  if scikit-image is not installed.
    ValueError  if an argument is out of range or the image is not finite.
    """
    radius = _at_least("unsharp_mask", "radius", radius, positive=True)
    amount = _at_least("unsharp_mask", "amount", amount)
    values, back = _numpy("unsharp_mask", image)
    options = {"radius": radius, "amount": amount, "preserve_range": True}
    sharp = _skimage("unsharp_mask", "skimage.filters").unsharp_mask(values, **options)
    return back(np.clip(sharp, 0, None))


def clahe(image: Any, *, clip_limit: float = 0.01) -> Any:
    """Return the image with the contrast of each neighbourhood equalised, within a limit.

    Contrast limited adaptive histogram equalisation over the image's own range. It makes faint
    parts visible and gives up on brightness: 2-D images and volumes, not for measuring.

    Parameters
    ----------
    image : array, shape (nz, ny, nx) or (ny, nx)
        Finite real numbers.
    clip_limit : float
        Between 0 and 1; higher gives more contrast.

    Returns
    -------
    array, shape and kind of `image`, floating point, over the range of `image`.

    Raises
    ------
    RuntimeError  if scikit-image is not installed.
    ValueError  if an argument is out of range or the image is not finite.
    """
    clip_limit = _at_least("clahe", "clip_limit", clip_limit)
    if clip_limit > 1:
        raise ValueError(f"clahe: clip_limit must lie in 0 to 1, got {clip_limit:g}")
    values, back = _numpy("clahe", image)
    low, high = float(values.min()), float(values.max())
    module = _skimage("clahe", "skimage.exposure")
    if high == low:
        return back(values.copy())
    equal = module.equalize_adapthist((values - low) / (high - low), clip_limit=clip_limit)
    return back(low + (high - low) * equal)


def wavelet_denoise(image: Any, *, sigma: float | None = None) -> Any:
    """Return the image with small wavelet coefficients shrunk (BayesShrink, soft threshold).

    Parameters
    ----------
    image : array, shape (nz, ny, nx) or (ny, nx)
        Finite real numbers.
    sigma : float, optional
        Standard deviation of the noise; estimated from the finest coefficients if not given.

    Returns
    -------
    array, shape and kind of `image`, floating point.

    Raises
    ------
    RuntimeError  if scikit-image or PyWavelets is not installed.
    ValueError  if an argument is out of range or the image is not finite.

    References
    ----------
    Chang, Yu & Vetterli 2000, IEEE Trans. Image Process. 9, 1532.
    """
    if sigma is not None:
        sigma = _at_least("wavelet_denoise", "sigma", sigma, positive=True)
    values, back = _numpy("wavelet_denoise", image)
    _skimage("wavelet_denoise", "pywt")
    restoration = _skimage("wavelet_denoise", "skimage.restoration")
    options = {"sigma": sigma, "method": "BayesShrink", "mode": "soft", "rescale_sigma": True}
    return back(restoration.denoise_wavelet(values, **options))


def _numpy(function: str, image: Any) -> tuple[np.ndarray, Any]:
    """Return the values, and what turns a result into the image's kind."""
    tensor = to_tensor(function, "image", image).detach()
    dtype = working_dtype(tensor)
    if tensor.ndim not in (2, 3) or tensor.numel() == 0:
        raise ValueError(
            f"{function}: image must have 2 or 3 axes, none empty, got shape "
            f"{tuple(tensor.shape)}; call it for each image of a batch"
        )
    _checks.finite_values(function, "image", tensor)
    kind = back_to_kind(image)

    def back(result: np.ndarray) -> Any:
        return kind(torch.from_numpy(np.ascontiguousarray(result)).to(tensor.device, dtype))

    return tensor.to("cpu", dtype).numpy(), back


def _at_least(function: str, name: str, value: Any, positive: bool = False) -> float:
    number = _checks.finite_number(function, name, value)
    if number < 0 or (positive and number == 0):
        rule = "positive" if positive else "not negative"
        raise ValueError(f"{function}: {name} must be {rule}, got {number:g}")
    return number


def _skimage(function: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = "PyWavelets" if module == "pywt" else "scikit-image"
        raise RuntimeError(
            f'{function}: needs {missing}; install it with pip install "otfuse[classical]"'
        ) from error
