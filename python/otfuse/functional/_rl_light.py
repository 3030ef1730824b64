# SPDX-License-Identifier: BSD-3-Clause
"""What an image holds besides the object's light: the camera's offset and a background."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks
from otfuse._background import dark_levels
from otfuse.functional._arrays import to_tensor
from otfuse.functional._geometry import Batch
from otfuse.functional._rl_run import NAME


def without_offset(
    background: Any, offset: float | None, batch: Batch
) -> tuple[Batch, tuple[float, Tensor | None]]:
    """The batch without the counts that no light caused, and the background that is left.

    That is one level for all voxels, or 0 and an array of the flattened image's shape.
    """
    image = batch.image
    dark = 0.0 if offset is None else _checks.finite_number(NAME, "offset", offset)
    if isinstance(background, str):
        _checks.one_of(NAME, "background", background, ("auto",))
        found = torch.tensor(
            [_dark_levels(item) for item in image], dtype=image.dtype, device=image.device
        )
        levels, darks = found.reshape(-1, 2, *[1] * (image.ndim - 1)).unbind(1)
        less = _less(batch, darks if offset is None else dark)
        left = (levels - (darks if offset is None else dark)).clamp(min=0)
        if len(left) == 1:
            return less, (float(left), None)
        return less, (0.0, left.expand(image.shape))
    level, array = _background(background, batch)
    if array is not None:
        return _less(batch, dark), (0.0, array if dark == 0 else (array - dark).clamp(min=0))
    return _less(batch, dark), (level if dark == 0 else max(level - dark, 0.0), None)


def _less(batch: Batch, dark: float | Tensor) -> Batch:
    """The batch with so many counts fewer; hidden pixels stay negative."""
    if isinstance(dark, float) and dark == 0:
        return batch
    image = batch.image
    return replace(batch, image=torch.where(image < 0, image, (image - dark).clamp(min=0)))


def _background(background: Any, batch: Batch) -> tuple[float, Tensor | None]:
    """One level for all voxels, or 0 and an array of the flattened image's shape."""
    image = batch.image
    if isinstance(background, int | float) or not hasattr(background, "shape"):
        return _checks.finite_number(NAME, "background", background), None
    array = to_tensor(NAME, "background", background)
    _checks.same_device(NAME, "background", array, image)
    array = array.to(image.dtype)
    if _checks.values_visible(array):
        low, _ = _checks.finite_values(NAME, "background", array)
        if low < 0:
            raise ValueError(f"{NAME}: background must not be negative, lowest value {low:g}")
    shape = (*batch.shape, *image.shape[1:])
    try:
        array = array.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"{NAME}: background must broadcast against the image, got shapes "
            f"{tuple(array.shape)} and {tuple(shape)}"
        ) from None
    return 0.0, array.reshape(image.shape)


def _dark_levels(item: Tensor) -> tuple[float, float]:
    """Of one image; hidden pixels count as its brightest."""
    if not _checks.values_visible(item):
        raise RuntimeError(f"{NAME}: background must be a number while tracing, got 'auto'")
    light = torch.where(item < 0, item.max(), item).detach()
    return dark_levels(light.cpu().numpy().reshape(1, *[1] * (3 - item.ndim), *item.shape))
