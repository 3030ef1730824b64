# SPDX-License-Identifier: BSD-3-Clause
"""Where kernels run: the module that has them, the queue they go to, and which tier serves.

The bodies of the CUDA ops take a Device and tensors that lie there. The tests hand them the
kernels built for the host and tensors of the CPU.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import is_double, triple
from otfuse.ops._registry import Body, implement

_LOG = logging.getLogger("otfuse")
if os.environ.get("OTFUSE_LOG", "").lower() == "debug":
    _LOG.setLevel(logging.DEBUG)
    _LOG.addHandler(logging.StreamHandler())


class Device(NamedTuple):
    """Kernels, and the queue that they are put on."""

    kernels: Any  # _C.cuda, or otfuse._host_kernels
    handle: int  # of the stream; on the host the order of threads
    shared_bytes: int  # the most that a block may have

    @property
    def queue(self) -> Any:
        return self.kernels.Queue(self.handle, self.shared_bytes)


def built_kernels() -> Any:
    """_C.cuda, or an error that says how to get it."""
    if _C.cuda is None:
        raise RuntimeError(
            "otfuse: tensors must be on the CPU, got CUDA ones in a build without CUDA; "
            "reinstall otfuse with nvcc on the PATH, or move them with .cpu()"
        )
    return _C.cuda


@functools.cache
def _shared_bytes(index: int) -> int:
    kernels = built_kernels()
    if index >= kernels.device_count():
        raise RuntimeError(
            f"otfuse: tensors must be on a device that the core finds, got cuda:{index} and "
            f"{kernels.device_count()} devices; check the driver"
        )
    return kernels.shared_bytes(index)


def cuda_device(array: Tensor) -> Device:
    """The current stream of the tensor's device."""
    kernels = built_kernels()
    stream = torch.cuda.current_stream(array.device).cuda_stream
    return Device(kernels, stream, _shared_bytes(array.device.index))


def serve(name: str, otherwise: Body | None = None) -> Callable[[Body], Body]:
    """The decorated body(device, *arguments) is otfuse::name for CUDA tensors.

    It runs on their device and its current stream; `otherwise` serves a build without kernels.
    """

    def decorate(body: Body) -> Body:
        def on_stream(*arguments: Any) -> Any:
            if _C.cuda is None and otherwise is not None:
                return otherwise(*arguments)
            first = arguments[0]
            array = first if isinstance(first, Tensor) else first[0]
            with torch.cuda.device_of(array):
                return body(cuda_device(array), *arguments)

        implement(name, "CUDA")(on_stream)
        return body

    return decorate


def tier(device: Device, grid: Sequence[int], double: bool) -> str:
    """Who transforms a grid.

    "tile": one block keeps a whole image. "pencils": the kernels' passes along each axis.
    "torch": torch.fft, that is cuFFT, with the operations between its transforms fused.
    """
    kernels = device.kernels
    if not all(kernels.has_line_plan(int(n)) for n in grid):
        chosen = "torch"
    elif 0 < kernels.tile_bytes(double, triple(grid, 1)) <= device.shared_bytes:
        chosen = "tile"
    else:
        chosen = "pencils"
    _LOG.debug("otfuse: grid %s, %s: %s", tuple(grid), "float64" if double else "float32", chosen)
    return chosen


def otf_size(kernels: Any, grid: Sequence[int]) -> int:
    """Reals of one OTF on a device: of the kernels' passes, tiles included, or of torch.fft."""
    if all(kernels.has_line_plan(int(n)) for n in grid):
        return kernels.otf_size(triple(grid, 1))
    z, y, x = triple(grid, 1)
    return 2 * z * y * (x // 2 + 1)


# Tables of lines are kept for good: a captured graph reads them at every replay.
_TABLES: dict[tuple[bool, int, torch.device], Tensor] = {}


def tables(kernels: Any, array: Tensor, grid: Sequence[int]) -> tuple[int, int, int]:
    """Addresses of the line tables of each axis, on the array's device.

    Making them copies from the host, which no graph can capture.
    """
    double, found = is_double(array), []
    for n in triple(grid, 1):
        key = (double, n, array.device)
        if key not in _TABLES:
            if array.is_cuda and torch.cuda.is_current_stream_capturing():
                raise RuntimeError(
                    f"otfuse: a CUDA graph must be captured after a call of the same extents, got "
                    f"{tuple(grid)} for the first time; call once before"
                )
            host = torch.frombuffer(bytearray(kernels.line_table(double, n)), dtype=torch.uint8)
            _TABLES[key] = host.to(array.device)
        found.append(_TABLES[key].data_ptr())
    z, y, x = found
    return z, y, x


def workspace(array: Tensor, size: int) -> Tensor:
    """Bytes from torch's allocator, on the array's device and stream."""
    return torch.empty(size, dtype=torch.uint8, device=array.device)
