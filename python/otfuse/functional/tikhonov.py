# SPDX-License-Identifier: BSD-3-Clause
"""The linear inverse that prefers smooth objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks
from otfuse.functional._arrays import to_tensor
from otfuse.functional._inverse import damped_inverse, positive
from otfuse.functional.otf import spatial_ndim


def tikhonov(
    image: Any,
    psf: Any,
    *,
    strength: float,
    order: int = 2,
    voxel: Sequence[float] | None = None,
    boundary: str = "reflect",
    ndim: int | None = None,
) -> Any:
    """Tikhonov's regularised inverse: the x that minimises |H x - image|^2 + strength |D x|^2.

    F^-1( conj(H) F image / (|H|^2 + strength s^order) ) with s the symbol of the negative
    Laplacian, s(k) = sum_i (2 sin(pi k_i) / d_i)^2, k in cycles per voxel, and d the edges of a
    voxel in units of the shortest.

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx)
        Finite real numbers; integers are computed in float32.
    psf : array, shape (..., kz, ky, kx)
        Centre at k // 2; its sum scales the result. Leading axes broadcast against the image's.
    strength : float
        Weight of the penalty; positive. Larger is smoother.
    order : {0, 1, 2}
        What is kept small: the object (0; the same as `wiener`), its gradient (1), or its
        Laplacian (2).
    voxel : sequence of float, optional
        Edges of a voxel, one per spatial axis; only their ratios count. By default a cube.
    boundary : {"reflect", "circular"}
        "reflect" pads the image by reflection, far enough for the psf.
    ndim : int, optional
        Number of spatial axes (1 to 3), by default that of `psf`.

    Returns
    -------
    array, shape of `image`
        The kind of `image`; may be negative. Differentiable in image and psf.

    Raises
    ------
    ValueError
        If strength is not positive, order or boundary is unknown, voxel does not fit, the psf
        sums to zero with order above 0, shapes do not fit, values are not finite, devices differ.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Tikhonov 1963; Hunt 1973 (order 2, in the Fourier domain).
    """
    strength = positive("tikhonov", "strength", strength)
    _checks.one_of("tikhonov", "order", order, (0, 1, 2))
    if order:
        _check_sum(psf, ndim)

    def penalty(like: Tensor) -> float | Tensor:
        edges = _edges(voxel, like.ndim)
        return strength * _laplacian(like, edges) ** order if order else strength

    return damped_inverse("tikhonov", image, psf, boundary, ndim, penalty)


def _check_sum(psf: Any, ndim: int | None) -> None:
    """A constant has no slope, so only the psf's sum tells how bright it was."""
    h = to_tensor("tikhonov", "psf", psf)
    axes = tuple(range(-spatial_ndim("tikhonov", h, ndim), 0))
    if _checks.values_visible(h) and bool((h.detach().double().sum(axes) == 0).any()):
        raise ValueError(
            "tikhonov: psf must not sum to zero, got one that does; use order=0, which also "
            "penalises what the psf hides"
        )


def _edges(voxel: Sequence[float] | None, ndim: int) -> list[float]:
    """The edges of a voxel in units of the shortest."""
    if voxel is None:
        return [1.0] * ndim
    if isinstance(voxel, int | float):
        raise TypeError(f"tikhonov: voxel must have {ndim} positive edges, got {voxel:g}")
    edges = [positive("tikhonov", "voxel", edge) for edge in voxel]
    if len(edges) != ndim:
        raise ValueError(
            f"tikhonov: voxel must have one edge per spatial axis ({ndim}), got {tuple(voxel)}"
        )
    return [edge / min(edges) for edge in edges]


def _laplacian(like: Tensor, edges: Sequence[float]) -> Tensor:
    """Symbol of the negative Laplacian by second differences, on the half spectrum of `like`."""
    total = like.new_zeros(())
    for axis, (n, edge) in enumerate(zip(like.shape, edges, strict=True)):
        count = n // 2 + 1 if axis == like.ndim - 1 else n
        angle = torch.arange(count, dtype=like.dtype, device=like.device) * (math.pi / n)
        line = (2 * torch.sin(angle) / edge).square()
        total = total + line.reshape(-1, *[1] * (like.ndim - 1 - axis))
    return total
