# SPDX-License-Identifier: BSD-3-Clause
"""Drawing in a volume: points spread over voxels, soft-edged bodies, small Gaussians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Shape = Sequence[int]


def generator(seed: int, device: torch.device | str | None) -> torch.Generator:
    """Return a source of random numbers that gives the same specimen for the same seed."""
    source = torch.Generator(device=device or "cpu")
    source.manual_seed(int(seed))
    return source


def check_field(
    function: str, shape: Shape, voxel: Sequence[float]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Return the three extents and the voxel edges of a volume."""
    extents = tuple(int(n) for n in shape)
    if len(extents) != 3 or min(extents) < 1:
        raise ValueError(
            f"{function}: shape must be three positive integers (z, y, x), got {tuple(shape)}"
        )
    edges = tuple(float(d) for d in voxel)
    if len(edges) != 3 or not all(math.isfinite(d) and d > 0 for d in edges):
        raise ValueError(
            f"{function}: voxel must be three positive lengths (z, y, x), got {tuple(voxel)}"
        )
    return (extents[0], extents[1], extents[2]), (edges[0], edges[1], edges[2])


def uniform(source: torch.Generator, low: float, high: float, *size: int) -> Tensor:
    """Return uniform random numbers."""
    numbers = torch.rand(size, generator=source, device=source.device)
    return low + (high - low) * numbers


def normal(source: torch.Generator, *size: int) -> Tensor:
    """Return normal random numbers."""
    return torch.randn(size, generator=source, device=source.device)


def splat(volume: Tensor, points: Tensor, weights: Tensor) -> None:
    """Add points (n, 3) in voxels, each shared by its eight neighbours; those outside are lost."""
    base = points.floor()
    part = points - base
    extents = torch.tensor(volume.shape, device=volume.device)
    strides = torch.tensor(volume.stride(), device=volume.device)
    for corner in range(8):
        step = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1], device=volume.device)
        place = base.long() + step
        share = torch.where(step.bool(), part, 1 - part).prod(1) * weights
        inside = ((place >= 0) & (place < extents)).all(1)
        volume.view(-1).index_add_(0, (place[inside] * strides).sum(1), share[inside])


def blur(volume: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Return the volume blurred by a narrow Gaussian, dark beyond its edges; sigmas in voxels."""
    for axis, sigma in enumerate(sigmas):
        half = math.ceil(3 * sigma)
        taps = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-half, half + 1)] if half else [1]
        source, volume = volume, torch.zeros_like(volume)
        for i, tap in enumerate(taps, -half):
            kept = volume.shape[axis] - abs(i)
            if kept > 0:
                volume.narrow(axis, max(0, i), kept).add_(
                    source.narrow(axis, max(0, -i), kept), alpha=tap / sum(taps)
                )
    return volume


def add_ellipsoid(
    volume: Tensor,
    voxel: Sequence[float],
    centre: Sequence[float],
    radii: Sequence[float],
    brightness: float,
    wall: float | None = None,
) -> None:
    """Add an ellipsoid, solid or with a wall of the given thickness, its edges soft by a voxel.

    Centre, radii and wall are in the unit of `voxel`.
    """
    lines, box = [], []
    for n, d, c, r in zip(volume.shape, voxel, centre, radii, strict=True):
        reach = r + (wall or 0.0) / 2 + d
        part = slice(max(0, math.floor((c - reach) / d)), min(n, math.ceil((c + reach) / d) + 1))
        if part.start >= part.stop:
            return
        box.append(part)
        lines.append((torch.arange(part.start, part.stop, device=volume.device) * d - c) / r)
    # Distance to the surface |p / r| = 1 to first order: (|p / r| - 1) |p / r| / |p / r^2|.
    unit = torch.meshgrid(*lines, indexing="ij")
    level = torch.sqrt(sum((u**2 for u in unit), torch.zeros(())))
    slope = torch.sqrt(sum(((u / r) ** 2 for u, r in zip(unit, radii, strict=True)), level * 0))
    distance = (level - 1) * torch.where(slope > 0, level / slope, min(radii))
    edge = -distance if wall is None else wall / 2 - distance.abs()
    softness = sum(voxel) / 3
    volume[tuple(box)] += brightness * (edge / softness + 0.5).clamp(0, 1)
