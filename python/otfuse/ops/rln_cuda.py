# SPDX-License-Identifier: BSD-3-Clause
"""Body of otfuse::rln on a device."""

from __future__ import annotations

from torch import Tensor

from otfuse.ops._device import Device, serve, workspace
from otfuse.ops.rln import checked


@serve("rln")
def rln_on(device: Device, image: Tensor, weights: Tensor, denominator: float) -> Tensor:
    """See otfuse::rln."""
    image, weights = checked(image, weights)
    batch, views, nz, ny, nx = image.shape
    out = image.new_empty(batch, 1, nz, ny, nx)
    memory = workspace(image, device.kernels.rln_bytes((nz, ny, nx), batch, views))
    device.kernels.rln(
        (nz, ny, nx),
        batch,
        views,
        image.data_ptr(),
        weights.data_ptr(),
        weights.numel(),
        denominator,
        out.data_ptr(),
        memory.data_ptr(),
        device.queue,
    )
    return out
