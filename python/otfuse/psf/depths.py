# SPDX-License-Identifier: BSD-3-Clause
"""The PSFs of a thick sample, which change with the depth below the coverslip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import _optics as optics


def depth_series(
    model: Callable[..., Tensor],
    shape: Sequence[int],
    voxel: Sequence[float],
    *,
    planes: int,
    nodes: int,
    top: float = 0.0,
    **parameters: Any,
) -> Tensor:
    """Return PSFs for depths through a stack, for `otfuse.space_varying_richardson_lucy`.

    Node i of g is the PSF of a point in the middle of its g-th part of the stack, at the depth
    `top + ((i + 1/2) planes / g - 1/2) dz`: where that function takes its nodes to stand.

    Parameters
    ----------
    model : callable
        One of the models that take a depth: `widefield`, `confocal`, `light_sheet`, ...
    shape : (kz, ky, kx)
        Extents of each PSF.
    voxel : (dz, dy, dx)
        Edges of a voxel in micrometres.
    planes : int
        Planes of the stack; the first is the nearest to the coverslip.
    nodes : int
        PSFs to make, at most one a plane. A few are enough: between them shares fade smoothly.
    top : float
        Depth of the first plane below the coverslip, micrometres.
    parameters
        All else that the model takes: na, wavelength, sample_index, ...

    Returns
    -------
    Tensor, shape (nodes, 1, 1, kz, ky, kx).  Differentiable in what the model is.

    Raises
    ------
    ValueError  if planes or nodes do not fit each other, top is negative, or the model refuses.
    """
    edges = optics.check_voxel("depth_series", "voxel", voxel)
    if not (isinstance(nodes, int) and isinstance(planes, int) and 1 <= nodes <= planes):
        raise ValueError(
            "depth_series: nodes must be a whole number from 1 to the number of planes, got "
            f"{nodes} nodes for {planes} planes"
        )
    if not top >= 0:
        raise ValueError(f"depth_series: top must not be negative, got {top:g}")
    middles = [(i + 0.5) * planes / nodes - 0.5 for i in range(nodes)]
    series = [model(shape, voxel, depth=top + m * edges[0], **parameters) for m in middles]
    return torch.stack(series)[:, None, None]
