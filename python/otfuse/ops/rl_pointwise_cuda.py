# SPDX-License-Identifier: BSD-3-Clause
"""Bodies of otfuse::rl_ratio and otfuse::rl_update on a device."""

from __future__ import annotations

import torch
from torch import Tensor

from otfuse.ops._device import Device, serve
from otfuse.ops._fields import is_double


@serve("rl_ratio")
def rl_ratio_on(
    device: Device,
    image: Tensor,
    reblurred: Tensor,
    background: Tensor,
    floor: float,
    add: bool,
) -> Tensor:
    """See otfuse::rl_ratio."""
    image, reblurred, background = (t.contiguous() for t in (image, reblurred, background))
    out = torch.empty_like(image)
    device.kernels.rl_ratio(
        is_double(image),
        image.numel(),
        image.data_ptr(),
        reblurred.data_ptr(),
        background.data_ptr(),
        floor,
        add,
        out.data_ptr(),
        device.queue,
    )
    return out


@serve("rl_update")
def rl_update_on(
    device: Device, estimate: Tensor, correction: Tensor, weight: Tensor | None
) -> Tensor:
    """See otfuse::rl_update."""
    estimate, correction = estimate.contiguous(), correction.contiguous()
    weight = None if weight is None else weight.contiguous()
    out = torch.empty_like(estimate)
    device.kernels.rl_update(
        is_double(estimate),
        estimate.numel(),
        estimate.data_ptr(),
        correction.data_ptr(),
        0 if weight is None else weight.data_ptr(),
        out.data_ptr(),
        device.queue,
    )
    return out
