# SPDX-License-Identifier: BSD-3-Clause
"""What this installation is and can do."""

from __future__ import annotations

import importlib.metadata

__version__ = importlib.metadata.version("otfuse")


def show_config() -> None:
    """Print version, instruction set, threads, and what CUDA was built for and finds."""
    import torch  # here: whoever only asks for the version need not wait for it

    from otfuse import _C

    levels = ", ".join(_C.simd_levels())
    print(f"otfuse {__version__}, torch {torch.__version__}")
    print(f"SIMD: {_C.simd_level()} (this processor: {levels})")
    print(f"threads: {torch.get_num_threads()}")
    print(f"CUDA: {_cuda_line(_C.cuda_architectures)}")


def _cuda_line(architectures: str) -> str:
    import torch

    if not architectures:
        return "not built"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(count))
    return f"built for {architectures}; devices: {names or 'none'}"
