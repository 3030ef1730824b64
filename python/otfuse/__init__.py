# SPDX-License-Identifier: BSD-3-Clause
"""Deconvolution of microscope images at hardware speed."""

from otfuse._config import __version__, show_config
from otfuse.functional import (
    MemoryPlan,
    Otf,
    fft_conv1d,
    fft_conv2d,
    fft_conv3d,
    fft_convolve,
    next_fast_shape,
    plan_richardson_lucy,
    richardson_lucy,
    rl_ratio,
    rl_update,
    wiener,
)
from otfuse.ops import clear_cache, simd_level

__all__ = [
    "MemoryPlan",
    "Otf",
    "__version__",
    "clear_cache",
    "fft_conv1d",
    "fft_conv2d",
    "fft_conv3d",
    "fft_convolve",
    "next_fast_shape",
    "plan_richardson_lucy",
    "richardson_lucy",
    "rl_ratio",
    "rl_update",
    "show_config",
    "simd_level",
    "wiener",
]
