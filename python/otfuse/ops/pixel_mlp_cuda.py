# SPDX-License-Identifier: BSD-3-Clause
"""Body of otfuse::pixel_mlp on a device."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from otfuse.ops import _thin_by_torch
from otfuse.ops._device import Device, serve
from otfuse.ops.conv_thin_cuda import conv_thin_on
from otfuse.ops.pixel_mlp import Call


@serve("pixel_mlp", _thin_by_torch.pixel_mlp)
def pixel_mlp_on(
    device: Device, input: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Tensor:
    """See otfuse::pixel_mlp."""
    call = Call.of(input, weights, biases)
    job = call.job()
    if device.kernels.pixel_mlp_bytes(job) <= device.shared_bytes:
        device.kernels.pixel_mlp(job, device.queue)
        return call.out
    x = input[..., None].flatten(2)  # layers too wide for shared memory: one after the other
    for w, b in zip(weights, biases, strict=True):
        x = conv_thin_on(device, [x], w[:, :, None], b, None, "relu")
    return x.reshape(call.out.shape)
