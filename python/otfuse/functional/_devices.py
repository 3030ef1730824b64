# SPDX-License-Identifier: BSD-3-Clause
"""Devices: where the core computes; a batch divided among several of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from otfuse import ops
from otfuse.functional._arrays import back_to_kind, to_tensor

_NAME = "richardson_lucy"


def has_kernels(device: torch.device) -> bool:
    """Whether the core computes on a device; elsewhere the networks are left to plain torch."""
    return ops.has_kernels(device)


def gpu_count() -> int:
    """GPUs that the core computes on."""
    return ops.gpu_count()


def spread(
    restore: Callable[..., Any],
    image: Any,
    psf: Any,
    devices: Sequence[Any],
    options: Mapping[str, Any],
) -> Any:
    """`restore(image, psf, **options)`, parts of the image's first axis on each device.

    Work is queued on all of them before any result is waited for. Arrays with the image's number
    of axes and its first extent are divided like it, others go to every device whole.
    """
    whole = to_tensor(_NAME, "image", image)
    h = to_tensor(_NAME, "psf", psf)
    ndim = h.ndim if options["ndim"] is None else options["ndim"]
    _check(whole, ndim, devices, options)
    count = max(min(len(devices), whole.shape[0]), 1)
    edges = [i * whole.shape[0] // count for i in range(count + 1)]

    def part(array: Any, i: int) -> Any:
        if not hasattr(array, "shape"):
            return array
        tensor = to_tensor(_NAME, "array", array)
        if tensor.ndim == whole.ndim and tensor.shape[0] == whole.shape[0]:
            tensor = tensor[edges[i] : edges[i + 1]]
        return tensor.to(devices[i], non_blocking=True)

    results: list[Tensor] = []
    for i in range(count):
        given = {name: part(value, i) for name, value in options.items()}
        given["ndim"] = ndim
        results.append(restore(part(whole, i), part(h, i), **given))
    return back_to_kind(image)(torch.cat([r.to(whole.device) for r in results]))


def _check(image: Tensor, ndim: int, devices: Sequence[Any], options: Mapping[str, Any]) -> None:
    """A batch, some devices, and nothing that needs a look at the whole batch."""
    if isinstance(devices, str) or not len(devices):
        raise ValueError(f"{_NAME}: devices must be a list of at least one device, got {devices!r}")
    if image.ndim <= ndim:
        raise ValueError(
            f"{_NAME}: image must have a batch axis to be divided among devices, got shape "
            f"{tuple(image.shape)} with {ndim} spatial axes; move it to one device instead"
        )
    for name in ("stop", "callback"):
        if options[name] is not None:
            raise ValueError(
                f"{_NAME}: {name} must be None with devices, got {options[name]!r}; "
                "it looks at the whole batch"
            )
