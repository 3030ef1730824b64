# SPDX-License-Identifier: BSD-3-Clause
"""What the linear inverses share: conj(H) / (|H|^2 + damping), applied to an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind, to_tensor, without_values, working_dtype
from otfuse.functional._geometry import common_batch, reflect_pad
from otfuse.functional.otf import spatial_ndim
from otfuse.functional.plan import reflected_widths

Damping = Callable[[Tensor], float | Tensor]


def positive(function: str, name: str, value: Any) -> float:
    """A finite number above zero."""
    number = _checks.finite_number(function, name, value)
    if number <= 0:
        raise ValueError(f"{function}: {name} must be positive, got {number:g}")
    return number


def damped_inverse(
    function: str, image: Any, psf: Any, boundary: str, ndim: int | None, damping: Damping
) -> Any:
    """F^-1( conj(H) F image / (|H|^2 + damping) ), of the image's kind.

    `damping` is asked with the padded image, and gives what broadcasts against its half spectrum.
    """
    _checks.one_of(function, "boundary", boundary, ("reflect", "circular"))
    y, h = to_tensor(function, "image", image), to_tensor(function, "psf", psf)
    ndim = spatial_ndim(function, h, ndim)
    _checks.same_device(function, "psf", h, y)
    _checks.spatial_axes(function, "image", y, ndim)
    y = y.to(working_dtype(y))
    h = h.to(y.dtype)
    for name, array in (("image", y), ("psf", h)):
        if _checks.values_visible(array):
            _checks.finite_values(function, name, array)
    shape, psf_shape = y.shape[-ndim:], h.shape[-ndim:]
    batch = common_batch(function, y.shape[:-ndim], h.shape[:-ndim])
    window: tuple[slice, ...] = tuple(slice(0, n) for n in shape)
    if boundary == "reflect":
        widths = reflected_widths(shape, psf_shape)
        y = reflect_pad(y, widths)
        window = tuple(slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True))
    else:
        _checks.fits(function, psf_shape, shape)
    if 0 in batch:
        return back_to_kind(image)(without_values((*batch, *shape), y, h))
    axes, grid = tuple(range(-ndim, 0)), y.shape[-ndim:]
    shift = [-(k // 2) for k in psf_shape]
    padding = [p for n, k in zip(grid[::-1], psf_shape[::-1], strict=True) for p in (0, n - k)]
    kernel = torch.nn.functional.pad(h, padding).roll(shift, axes)
    otf = torch.fft.rfftn(kernel, dim=axes)
    spectrum = torch.fft.rfftn(y, dim=axes) * otf.conj()
    spectrum = spectrum / (otf.abs().square() + damping(y[(0,) * (y.ndim - ndim)]))
    out = torch.fft.irfftn(spectrum, s=grid, dim=axes)[(..., *window)]
    return back_to_kind(image)(out)
