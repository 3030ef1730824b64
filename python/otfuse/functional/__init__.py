# SPDX-License-Identifier: BSD-3-Clause
"""The public, stateless functions: defaults, padding, broadcasting, checks."""

from otfuse.functional._geometry import next_fast_shape
from otfuse.functional.blind import BlindResult, blind_richardson_lucy
from otfuse.functional.conv_thin import conv_thin, pixel_mlp
from otfuse.functional.fft_conv import fft_conv1d, fft_conv2d, fft_conv3d
from otfuse.functional.fft_convolve import fft_convolve
from otfuse.functional.fit_psf import PsfFit, fit_psf
from otfuse.functional.landweber import landweber
from otfuse.functional.multiview import multiview_richardson_lucy
from otfuse.functional.otf import Otf
from otfuse.functional.plan import MemoryPlan, plan_richardson_lucy
from otfuse.functional.richardson_lucy import richardson_lucy
from otfuse.functional.rl_pointwise import rl_ratio, rl_update
from otfuse.functional.rln import pack_rln_weights, rln, rln_bytes
from otfuse.functional.rln_rows import RlnRows, row_strips
from otfuse.functional.space_varying import (
    space_varying_convolve,
    space_varying_richardson_lucy,
)
from otfuse.functional.spectral_mix import spectral_mix
from otfuse.functional.tikhonov import tikhonov
from otfuse.functional.wiener import wiener

__all__ = [
    "BlindResult",
    "MemoryPlan",
    "Otf",
    "PsfFit",
    "RlnRows",
    "blind_richardson_lucy",
    "conv_thin",
    "fft_conv1d",
    "fft_conv2d",
    "fft_conv3d",
    "fft_convolve",
    "fit_psf",
    "landweber",
    "multiview_richardson_lucy",
    "next_fast_shape",
    "pack_rln_weights",
    "pixel_mlp",
    "plan_richardson_lucy",
    "richardson_lucy",
    "rl_ratio",
    "rl_update",
    "space_varying_convolve",
    "space_varying_richardson_lucy",
    "rln",
    "rln_bytes",
    "row_strips",
    "spectral_mix",
    "tikhonov",
    "wiener",
]
