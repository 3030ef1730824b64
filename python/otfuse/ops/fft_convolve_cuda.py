# SPDX-License-Identifier: BSD-3-Clause
"""Bodies of otfuse::make_otf and otfuse::fft_convolve on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from otfuse.ops import _spectra
from otfuse.ops._device import Device, otf_size, serve, tables, tier, workspace
from otfuse.ops._fields import engine_grid, field, is_double, triple
from otfuse.ops.fft_convolve import Windows


@serve("make_otf")
def make_otf_on(
    device: Device,
    kernel: Tensor,
    grid: Sequence[int],
    padded: bool,
    kernel_offset: Sequence[int],
) -> Tensor:
    """See otfuse::make_otf."""
    grid, kernels = engine_grid(grid, padded), device.kernels
    if tier(device, grid, is_double(kernel)) == "torch":
        spectra = _spectra.spectra(_spectra.place(kernel, kernel_offset, grid))
        return torch.view_as_real(spectra).reshape(kernel.shape[0], -1)
    otf = kernel.new_empty((kernel.shape[0], otf_size(kernels, grid)))
    kernels.make_otf(
        is_double(kernel),
        triple(grid, 1),
        kernel.shape[0],
        field(kernel, kernel_offset, grid),
        otf.data_ptr(),
        tables(kernels, kernel, grid),
        device.queue,
    )
    return otf


@serve("fft_convolve")
def fft_convolve_on(
    device: Device,
    image: Tensor,
    kernel: Tensor,
    otf: Tensor | None,
    inner: int,
    *windows_adjoint: Any,
) -> Tensor:
    """See otfuse::fft_convolve."""
    *windows, adjoint = windows_adjoint
    w = Windows(*windows)
    if otf is None:
        otf = make_otf_on(device, kernel, w.grid, w.padded, w.kernel_offset)
    grid, kernels = engine_grid(w.grid, w.padded), device.kernels
    served_by = tier(device, grid, is_double(image))
    if served_by == "torch":
        around = _spectra.place(image, w.image_offset, grid)
        blurred = _spectra.multiply(around, _spectra.as_spectra(otf, grid), inner, adjoint)
        return _spectra.cut(blurred, w.out_offset, w.out_shape).contiguous()
    out = image.new_empty((image.shape[0], *w.out_shape))
    double, extents, batch = is_double(image), triple(grid, 1), image.shape[0]
    tile = served_by == "tile"
    size = 0 if tile else kernels.fft_convolve_bytes(double, extents, batch)
    memory = workspace(image, size)
    kernels.fft_convolve(
        double,
        extents,
        batch,
        field(image, w.image_offset, grid),
        otf.data_ptr(),
        kernel.shape[0],
        inner,
        field(out, w.out_offset, grid),
        adjoint,
        tile,
        tables(kernels, image, grid),
        memory.data_ptr(),
        device.queue,
    )
    return out
