# SPDX-License-Identifier: BSD-3-Clause
"""Torch's view of the compiled core: custom operators under ``torch.ops.otfuse``."""

from otfuse.ops import (  # noqa: F401  the bodies of the CUDA ops, registered by importing them
    conv_thin_cuda,
    fft_convolve_cuda,
    pixel_mlp_cuda,
    richardson_lucy_cuda,
    rl_pointwise_cuda,
    rln_cuda,
    spectral_mix_cuda,
    thin_network_cuda,
)
from otfuse.ops._fields import engine_grid
from otfuse.ops.conv_thin import conv_thin
from otfuse.ops.fft_convolve import fft_convolve, fft_convolve_add, make_otf
from otfuse.ops.pixel_mlp import pixel_mlp
from otfuse.ops.psf_terms import psf_terms
from otfuse.ops.richardson_lucy import richardson_lucy, richardson_lucy_bytes
from otfuse.ops.richardson_lucy_loop import LoopSettings, LoopTensors, run_loop
from otfuse.ops.rl_consensus import rl_consensus
from otfuse.ops.rl_nodes import rl_nodes
from otfuse.ops.rl_pointwise import rl_ratio, rl_ratio_, rl_update, rl_update_
from otfuse.ops.rl_views import rl_views
from otfuse.ops.rln import RlnWalk, rln, rln_bytes, rln_strips
from otfuse.ops.spectral_mix import spectral_mix, spectral_mix_factors, spectral_mix_symbol
from otfuse.ops.system import (
    clear_cache,
    gpu_count,
    has_kernels,
    next_fast_extent,
    simd_level,
    thread_count,
)
from otfuse.ops.thin_network import thin_network

__all__ = [
    "LoopSettings",
    "LoopTensors",
    "RlnWalk",
    "clear_cache",
    "conv_thin",
    "engine_grid",
    "fft_convolve",
    "fft_convolve_add",
    "gpu_count",
    "has_kernels",
    "make_otf",
    "next_fast_extent",
    "pixel_mlp",
    "psf_terms",
    "richardson_lucy",
    "richardson_lucy_bytes",
    "rl_consensus",
    "rl_nodes",
    "rl_ratio",
    "rl_ratio_",
    "rl_update",
    "rl_update_",
    "rl_views",
    "rln",
    "rln_bytes",
    "rln_strips",
    "run_loop",
    "simd_level",
    "thin_network",
    "spectral_mix",
    "spectral_mix_factors",
    "spectral_mix_symbol",
    "thread_count",
]
