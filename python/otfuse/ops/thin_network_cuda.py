# SPDX-License-Identifier: BSD-3-Clause
"""Body of otfuse::thin_network on a device."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from otfuse.ops._device import Device, serve, workspace
from otfuse.ops.thin_network import Call


@serve("thin_network")
def thin_network_on(
    device: Device, image: Tensor, parameters: Sequence[Tensor], program: Sequence[int]
) -> list[Tensor]:
    """See otfuse::thin_network."""
    call = Call.of(image, parameters, program)
    job = call.job(program)
    memory = workspace(image, device.kernels.thin_network_bytes(job))
    device.kernels.thin_network(job, memory.data_ptr(), device.queue)
    return call.outputs
