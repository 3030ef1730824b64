# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic specimens whose truth is known: filaments, shells, beads and a mixture of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import _draw as draw

_UNIT_VOXEL = (1.0, 1.0, 1.0)
# Places tried for each body.
_CANDIDATES = 6


def filaments(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    thickness: float | None = None,
    persistence: float | None = None,
    voxel: Sequence[float] = _UNIT_VOXEL,
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

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; about 1 in the middle of a fibre.
    """
    extents, edges = draw.check_field("filaments", shape, voxel)
    source = draw.generator(seed, device)
    short = min(edges)
    width = 2 * short if thickness is None else thickness
    bend = 40 * short if persistence is None else persistence
    _check_positive("filaments", thickness=width, persistence=bend)
    size = [n * d for n, d in zip(extents, edges, strict=True)]
    length = 1.5 * max(size)
    if count is None:
        count = max(1, round(0.012 * math.prod(size) / (length * width**2)))
    volume = torch.zeros(extents, device=source.device)
    step = short / 2
    steps = math.ceil(length / step)
    points = _walks(source, size, count, steps, step, bend, width)
    sigma = width / 2.3548200450309493
    share = 2 * math.pi * sigma**2 * step / math.prod(edges)
    brightness = draw.uniform(source, 0.4, 1.0, count)[:, None].expand(count, steps)
    grid = points / torch.tensor(edges, device=source.device)
    draw.splat(volume, grid.reshape(-1, 3), (share * brightness).reshape(-1))
    return draw.blur(volume, [sigma / d for d in edges])


def shells(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    radius: tuple[float, float] | None = None,
    wall: float | None = None,
    voxel: Sequence[float] = _UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return hollow ellipsoids, like stained membranes.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Extents of the volume.
    seed : int
        The same seed gives the same specimen.
    count : int, optional
        Number of shells; by default so many that they enclose some five per cent of the volume.
    radius : (float, float), optional
        Shortest and longest half axis, in the unit of `voxel`; by default 6 and 16 of its shortest
        edges, less in a small volume.
    wall : float, optional
        Thickness of the wall; by default 1.5 of the shortest edges.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; 0.4 to 1 in a wall.
    """
    extents, edges = draw.check_field("shells", shape, voxel)
    short = min(edges)
    low, high = _fitting(extents, edges, (6 * short, 16 * short) if radius is None else radius)
    thick = 1.5 * short if wall is None else wall
    _check_positive("shells", radius=low, wall=thick)
    size = [n * d for n, d in zip(extents, edges, strict=True)]
    if count is None:
        count = max(1, round(0.05 * math.prod(size) / (4.19 * ((low + high) / 2) ** 3)))
    return _bodies(seed, extents, edges, count, (low, high), thick, device)


def beads(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    radius: tuple[float, float] | None = None,
    voxel: Sequence[float] = _UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return small solid spheres, like fluorescent beads or vesicles.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Extents of the volume.
    seed : int
        The same seed gives the same specimen.
    count : int, optional
        Number of beads; by default one in a cube of 28 shortest edges.
    radius : (float, float), optional
        Smallest and largest radius, in the unit of `voxel`; by default 1 and 2 of its shortest
        edges.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; 0.4 to 1 in a bead.
    """
    extents, edges = draw.check_field("beads", shape, voxel)
    short = min(edges)
    low, high = _fitting(extents, edges, (short, 2 * short) if radius is None else radius)
    _check_positive("beads", radius=low)
    size = [n * d for n, d in zip(extents, edges, strict=True)]
    if count is None:
        count = max(1, round(math.prod(size) / (28 * short) ** 3))
    return _bodies(seed, extents, edges, count, (low, high), None, device)


def specimen(
    shape: Sequence[int],
    seed: int,
    *,
    voxel: Sequence[float] = _UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return filaments, shells and beads in one volume, the brightest voxel 1.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Extents of the volume.
    seed : int
        The same seed gives the same specimen.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, between 0 and 1.
    """
    drawn = filaments(shape, seed=3 * seed, voxel=voxel, device=device)
    drawn = drawn + shells(shape, seed=3 * seed + 1, voxel=voxel, device=device)
    drawn = drawn + beads(shape, seed=3 * seed + 2, voxel=voxel, device=device)
    return drawn / drawn.max()


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


def _bodies(
    seed: int,
    extents: tuple[int, int, int],
    edges: tuple[float, float, float],
    count: int,
    radius: tuple[float, float],
    wall: float | None,
    device: torch.device | str | None,
) -> Tensor:
    """Return `count` ellipsoids (spheres where solid) at random places inside the volume."""
    source = draw.generator(seed, None)
    volume = torch.zeros(extents, device=device)
    last = torch.tensor([(n - 1) * d for n, d in zip(extents, edges, strict=True)])
    centres = torch.empty(0, 3)
    for _ in range(count):
        radii = draw.uniform(source, *radius, 3 if wall is not None else 1).expand(3)
        brightness = float(draw.uniform(source, 0.4, 1.0, 1))
        reach = radii + (wall or 0.0) / 2 + torch.tensor(edges)
        room = (last - 2 * reach).clamp(min=0)
        places = draw.uniform(source, 0.0, 1.0, _CANDIDATES, 3) * room + (last - room) / 2
        # The candidate farthest from all earlier bodies: specimens overlap seldom.
        gaps = torch.cdist(places, centres).amin(1) if len(centres) else places[:, 0]
        place = places[int(gaps.argmax())]
        centres = torch.cat([centres, place[None]])
        draw.add_ellipsoid(volume, edges, place.tolist(), radii.tolist(), brightness, wall)
    return volume


def _fitting(
    extents: Sequence[int], edges: Sequence[float], radius: Sequence[float]
) -> tuple[float, float]:
    """Return the radii, no longer than what fits the volume."""
    most = min((n * d) / 3 for n, d in zip(extents, edges, strict=True))
    return min(float(radius[0]), most), min(float(radius[1]), most)


def _check_positive(function: str, **lengths: float) -> None:
    for name, value in lengths.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{function}: {name} must be positive and finite, got {value:g}")
