# SPDX-License-Identifier: BSD-3-Clause
"""Deconvolution of microscope images at hardware speed.

Names are imported when they are first asked for, so that a command line that only has to print
its help does not wait for torch.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otfuse._config import __version__, show_config
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
    from otfuse.functional.space_varying import (
        space_varying_convolve,
        space_varying_richardson_lucy,
    )
    from otfuse.functional.spectral_mix import spectral_mix
    from otfuse.functional.tikhonov import tikhonov
    from otfuse.functional.wiener import wiener
    from otfuse.ops.system import clear_cache, simd_level
    from otfuse.tiling.job_plan import measure_rate, plan
    from otfuse.tiling.planned import Plan

_ROOMS = {
    "otfuse._config": ("__version__", "show_config"),
    "otfuse.ops": ("clear_cache", "simd_level"),
    "otfuse.tiling.job_plan": ("measure_rate", "plan"),
    "otfuse.tiling.planned": ("Plan",),
    "otfuse.functional": (
        "BlindResult",
        "MemoryPlan",
        "Otf",
        "PsfFit",
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
        "pixel_mlp",
        "plan_richardson_lucy",
        "richardson_lucy",
        "rl_ratio",
        "rl_update",
        "space_varying_convolve",
        "space_varying_richardson_lucy",
        "spectral_mix",
        "tikhonov",
        "wiener",
    ),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
_SUBPACKAGES = (
    "classical",
    "dask",
    "functional",
    "io",
    "metrics",
    "nn",
    "ops",
    "psf",
    "reference",
    "simulate",
    "tiling",
    "train",
)

__all__ = [
    "BlindResult",
    "MemoryPlan",
    "Otf",
    "Plan",
    "PsfFit",
    "__version__",
    "clear_cache",
    "blind_richardson_lucy",
    "conv_thin",
    "fft_conv1d",
    "fft_conv2d",
    "fft_conv3d",
    "fft_convolve",
    "fit_psf",
    "landweber",
    "measure_rate",
    "multiview_richardson_lucy",
    "next_fast_shape",
    "pixel_mlp",
    "plan",
    "plan_richardson_lucy",
    "richardson_lucy",
    "rl_ratio",
    "rl_update",
    "show_config",
    "simd_level",
    "space_varying_convolve",
    "space_varying_richardson_lucy",
    "spectral_mix",
    "tikhonov",
    "wiener",
]


if "torch" in sys.modules:  # whoever uses torch expects torch.ops.otfuse to be there
    import otfuse.ops  # noqa: F401


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"otfuse.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'otfuse' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBPACKAGES])
