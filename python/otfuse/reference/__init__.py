# SPDX-License-Identifier: BSD-3-Clause
"""What the answers are: the public functions in plain torch, differentiable and float64-clean.

Same names and signatures as the compiled functions, slower and heavier on memory. Anything that
`torch.as_tensor` takes goes in, tensors come out, and next to nothing is checked.
"""

from .back_projector import back_projector
from .blind import blind_richardson_lucy
from .conv_thin import conv_thin, pixel_mlp
from .fft_conv import fft_conv1d, fft_conv2d, fft_conv3d
from .fft_convolve import fft_convolve
from .landweber import landweber
from .mrbcr import mrbcr
from .multiview import multiview_richardson_lucy
from .richardson_lucy import richardson_lucy
from .rl_pointwise import rl_ratio, rl_update
from .rln import rln
from .space_varying import space_varying_convolve, space_varying_richardson_lucy
from .spectral_mix import spectral_mix
from .tikhonov import tikhonov
from .wiener import wiener

__all__ = [
    "blind_richardson_lucy",
    "back_projector",
    "conv_thin",
    "fft_conv1d",
    "fft_conv2d",
    "fft_conv3d",
    "fft_convolve",
    "landweber",
    "multiview_richardson_lucy",
    "mrbcr",
    "pixel_mlp",
    "richardson_lucy",
    "rl_ratio",
    "rl_update",
    "rln",
    "space_varying_convolve",
    "space_varying_richardson_lucy",
    "spectral_mix",
    "tikhonov",
    "wiener",
]
