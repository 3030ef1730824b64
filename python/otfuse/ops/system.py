# SPDX-License-Identifier: BSD-3-Clause
"""Facts about the compiled core that the layers above need."""

import torch

from otfuse import _C


def simd_level() -> str:
    """Instruction set in force: "avx512", "avx2" or "baseline"."""
    return _C.simd_level()


def has_kernels(device: torch.device) -> bool:
    """Whether the core was built for a device."""
    return device.type == "cpu" or (device.type == "cuda" and _C.cuda is not None)


def gpu_count() -> int:
    """GPUs that torch and the core both find; 0 where the core was built without CUDA."""
    if _C.cuda is None or not torch.cuda.is_available():
        return 0
    return min(torch.cuda.device_count(), int(_C.cuda.device_count()))


def next_fast_extent(n: int) -> int:
    """The extent of at least `n` that the engine transforms at the least cost."""
    return _C.next_fast_extent(n)


def thread_count(threads: int | None = None) -> int:
    """Threads that a call will use: torch's number unless told."""
    return torch.get_num_threads() if threads is None else threads


def clear_cache() -> int:
    """Give the memory that the engine keeps between calls back to the system.

    Returns
    -------
    int
        Bytes given back.
    """
    return _C.clear_workspaces()
