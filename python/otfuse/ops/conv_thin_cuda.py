# SPDX-License-Identifier: BSD-3-Clause
"""Bodies of otfuse::conv_thin and otfuse::pixel_mlp on a device."""

from __future__ import annotations

from otfuse.ops import _thin_by_torch
from otfuse.ops._registry import implement

implement("conv_thin", "CUDA")(_thin_by_torch.conv_thin)
implement("pixel_mlp", "CUDA")(_thin_by_torch.pixel_mlp)
