# SPDX-License-Identifier: BSD-3-Clause
"""Body of otfuse::richardson_lucy on a device: queued at once, nothing waits in the loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otfuse.ops import _spectra
from otfuse.ops._device import Device, cuda_device, serve, tables, tier, workspace
from otfuse.ops._fields import engine_grid, is_double
from otfuse.ops.fft_convolve_cuda import make_otf_on
from otfuse.ops.richardson_lucy_loop import (
    BODIES,
    LoopSettings,
    LoopTensors,
    loop_arguments,
)

_N = len(LoopTensors._fields)


def run_loop_on(
    device: Device, t: LoopTensors, s: LoopSettings, otf_back: Tensor | None = None
) -> tuple[Tensor, ...]:
    """See otfuse::richardson_lucy; `otf_back` is that of back_kernel, where it is at hand."""
    place = (s.grid, s.padded, s.kernel_offset)
    otf = make_otf_on(device, t.kernel, *place) if t.otf is None else t.otf
    if t.back_kernel is not None and otf_back is None:
        otf_back = make_otf_on(device, t.back_kernel, *place)
    floor = t.floor.contiguous()
    loop, results = loop_arguments(t, s)
    loop.otf, loop.otf_back = otf.data_ptr(), 0 if otf_back is None else otf_back.data_ptr()
    loop.floor = floor.data_ptr()
    grid, kernels, double = engine_grid(s.grid, s.padded), device.kernels, is_double(t.image)
    served_by = tier(device, grid, double)
    if served_by == "tile" and _updates_in_space(t, s):
        served_by = "pencils"
    if served_by == "pencils" and s.mixed and not double:
        served_by = "mixed"
    stored = {"pencils": 2 * t.image.element_size(), "mixed": 4}.get(served_by, 0)
    memory = workspace(t.image, kernels.richardson_lucy_bytes(double, loop, stored))
    if served_by == "torch":
        back = otf if otf_back is None else otf_back
        spectra = (_spectra.as_spectra(otf, grid), _spectra.as_spectra(back, grid))
        values = t.image.new_zeros((t.image.shape[0], *grid))
        _run_beside_torch(device, loop, memory, values, s, spectra)
    else:
        where = tables(kernels, t.image, grid)
        kernels.richardson_lucy(double, loop, served_by, where, memory.data_ptr(), device.queue)
    return tuple(results)


def _updates_in_space(t: LoopTensors, s: LoopSettings) -> bool:
    """As updates_in_space in csrc/cuda/rl_memory.hpp: more than one block can do alone."""
    return s.acceleration == "biggs" or s.tv > 0 or (s.weighted and t.back_kernel is not None)


def _run_beside_torch(
    device: Device,
    loop: Any,
    memory: Tensor,
    values: Tensor,
    s: LoopSettings,
    spectra: tuple[Tensor, Tensor],
) -> None:
    """The loop with torch.fft between the steps in space; `values` are on the grid."""
    kernels, queue, double = device.kernels, device.queue, is_double(values)
    steps, (otf, otf_back) = kernels.LoopStep, spectra

    def step(which: Any, i: int = 0) -> None:
        kernels.richardson_lucy_step(
            double, loop, which, i, values.data_ptr(), memory.data_ptr(), queue
        )

    step(steps.load)
    if s.weighted:
        step(steps.observe)
        values = _spectra.multiply(values, otf_back, s.inner, True)
        step(steps.weigh)
    step(steps.start)
    for i in range(s.n_iters):
        values = _spectra.multiply(values, otf, s.inner, False)
        step(steps.compare, i)
        values = _spectra.multiply(values, otf_back, s.inner, True)
        step(steps.update, i)
    step(steps.store)


@serve("richardson_lucy")
def richardson_lucy_on(device: Device, *arguments: Any) -> tuple[Tensor, ...]:
    """See otfuse::richardson_lucy."""
    return run_loop_on(device, LoopTensors(*arguments[:_N]), LoopSettings(*arguments[_N:]))


def _run_loop(
    t: LoopTensors, s: LoopSettings, otf_back: Tensor | None = None
) -> tuple[Tensor, ...]:
    with torch.cuda.device_of(t.image):
        return run_loop_on(cuda_device(t.image), t, s, otf_back)


BODIES["cuda"] = _run_loop
