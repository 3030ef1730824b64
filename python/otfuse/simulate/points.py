# SPDX-License-Identifier: BSD-3-Clause
"""Specimens drawn as points that share a cross-section: fibres and dots."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import _draw as draw


def filaments(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    thickness: float | None = None,
    persistence: float | None = None,
    voxel: Sequence[float] = draw.UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return curved fibres of Gaussian cross-section, like a cytoskeleton.

    Each is a smooth random walk that turns back at the faces of the volume, so nothing that is
    drawn lies outside.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Extents of the volume.
    seed : int
        The same seed gives the same specimen.
    count : int, optional
        Number of fibres; by default so many that about one per cent of the volume is filled.
    thickness : float, optional
        Full width at half maximum, in the unit of `voxel`; by default 2 of its shortest edges.
    persistence : float, optional
        Length over which a fibre forgets its direction; by default 40 of the shortest edges.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; about 1 in the middle of a fibre.
    """
    extents, edges = draw.check_field("filaments", shape, voxel)
    source = draw.generator(seed, device)
    short = min(edges)
    width = 2 * short if thickness is None else thickness
    bend = 40 * short if persistence is None else persistence
    draw.check_positive("filaments", thickness=width, persistence=bend)
    size = [n * d for n, d in zip(extents, edges, strict=True)]
    length = 1.5 * max(size)
    if count is None:
        count = max(1, round(0.012 * math.prod(size) / (length * width**2)))
    volume = torch.zeros(extents, device=source.device)
    step = short / 2
    steps = math.ceil(length / step)
    points = _walks(source, size, count, steps, step, bend, width)
    sigma = width / draw.FWHM
    share = 2 * math.pi * sigma**2 * step / math.prod(edges)
    brightness = draw.uniform(source, 0.4, 1.0, count)[:, None].expand(count, steps)
    grid = points / torch.tensor(edges, device=source.device)
    draw.splat(volume, grid.reshape(-1, 3), (share * brightness).reshape(-1))
    return draw.blur(volume, [sigma / d for d in edges])


def dots(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    diameter: float | None = None,
    voxel: Sequence[float] = draw.UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return Gaussian spots, like single molecules or vesicles too small to be resolved.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Extents of the volume.
    seed : int
        The same seed gives the same specimen.
    count : int, optional
        Number of dots; by default one in a cube of 16 shortest edges.
    diameter : float, optional
        Full width at half maximum, in the unit of `voxel`; by default 1.5 of its shortest edges.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; 0.4 to 1 in the middle of a dot that is
    wide enough to be sampled.
    """
    extents, edges = draw.check_field("dots", shape, voxel)
    source = draw.generator(seed, device)
    short = min(edges)
    width = 1.5 * short if diameter is None else diameter
    draw.check_positive("dots", diameter=width)
    size = [n * d for n, d in zip(extents, edges, strict=True)]
    if count is None:
        count = max(1, round(math.prod(size) / (16 * short) ** 3))
    sigma = width / draw.FWHM
    share = (2 * math.pi) ** 1.5 * sigma**3 / math.prod(edges)
    last = torch.tensor([n - 1.0 for n in extents], device=source.device)
    points = draw.uniform(source, 0.0, 1.0, count, 3) * last
    volume = torch.zeros(extents, device=source.device)
    draw.splat(volume, points, share * draw.uniform(source, 0.4, 1.0, count))
    return draw.blur(volume, [sigma / d for d in edges])


def _walks(
    source: torch.Generator,
    size: Sequence[float],
    count: int,
    steps: int,
    step: float,
    bend: float,
    width: float,
) -> Tensor:
    """Return the points of `count` smooth walks inside a box: (count, steps, 3)."""
    room = torch.tensor(size, device=source.device)
    start = draw.uniform(source, 0.0, 1.0, count, 1, 3) * room
    # A direction that drifts on the sphere: a random turn per step, diffusing over `bend`.
    turns = draw.normal(source, count, steps, 3) * math.sqrt(step / bend)
    heading = draw.normal(source, count, 1, 3) + turns.cumsum(1)
    heading = heading / heading.norm(dim=2, keepdim=True)
    path = start + step * heading.cumsum(1)
    # Folding into the box, a fibre's width from its faces, turns a walk back as a mirror would.
    margin = torch.minimum(torch.full_like(room, 1.5 * width), room / 4)
    inner = (room - 2 * margin).clamp(min=1e-6)
    return margin + inner - ((path - margin).remainder(2 * inner) - inner).abs()
