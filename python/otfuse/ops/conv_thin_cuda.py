# SPDX-License-Identifier: BSD-3-Clause
"""Body of otfuse::conv_thin on a device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otfuse.ops import _thin_by_torch
from otfuse.ops._device import Device, serve
from otfuse.ops.conv_thin import Call


@serve("conv_thin", _thin_by_torch.conv_thin)
def conv_thin_on(
    device: Device,
    inputs: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    added: Tensor | None,
    activation: str,
) -> Tensor:
    """See otfuse::conv_thin."""
    if len(inputs) > device.kernels.most_thin_sources:
        inputs = [torch.cat(list(inputs), 1)]
    call = Call.of(inputs, weight, bias, added)
    device.kernels.conv_thin(call.job(activation), device.queue)
    return call.out
