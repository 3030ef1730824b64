# SPDX-License-Identifier: BSD-3-Clause
"""How close a restoration is to a known truth: likeness, resolution, light and artefacts."""

from .artefacts import edge_energy, flux_error, ringing
from .resolution import fourier_shell_correlation, fwhm, shell_resolution
from .similarity import correlation, psnr, ssim

__all__ = [
    "correlation",
    "edge_energy",
    "flux_error",
    "fourier_shell_correlation",
    "fwhm",
    "psnr",
    "ringing",
    "shell_resolution",
    "ssim",
]
