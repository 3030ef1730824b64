# SPDX-License-Identifier: BSD-3-Clause
"""Specimens made of bodies with a surface: shells, beads, ellipsoids and rods."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import _draw as draw


def shells(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    radius: tuple[float, float] | None = None,
    wall: float | None = None,
    voxel: Sequence[float] = draw.UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return hollow ellipsoids turned at random, like stained membranes.

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
        edges, less in a small volume. Two equal values give hollow spheres.
    wall : float, optional
        Thickness of the wall; by default 1.5 of the shortest edges.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; 0.4 to 1 in a wall.
    """
    field = draw.Field.checked("shells", shape, voxel)
    low, high = field.fitting((6 * field.short, 16 * field.short) if radius is None else radius)
    thick = 1.5 * field.short if wall is None else wall
    draw.check_positive("shells", radius=low, wall=thick)
    if count is None:
        count = field.count(0.05, (low + high) / 2)
    return _ellipsoids(field, seed, count, (low, high), device, axes=3, wall=thick)


def beads(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    radius: tuple[float, float] | None = None,
    voxel: Sequence[float] = draw.UNIT_VOXEL,
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
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; 0.4 to 1 in a bead.
    """
    field = draw.Field.checked("beads", shape, voxel)
    low, high = field.fitting((field.short, 2 * field.short) if radius is None else radius)
    draw.check_positive("beads", radius=low)
    if count is None:
        count = max(1, round(math.prod(field.size) / (28 * field.short) ** 3))
    return _ellipsoids(field, seed, count, (low, high), device, axes=1)


def ellipsoids(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    radius: tuple[float, float] | None = None,
    voxel: Sequence[float] = draw.UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return solid ellipsoids turned at random, like evenly stained cell bodies.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Extents of the volume.
    seed : int
        The same seed gives the same specimen.
    count : int, optional
        Number of ellipsoids; by default so many that they fill some three per cent of the volume.
    radius : (float, float), optional
        Shortest and longest half axis, in the unit of `voxel`; by default 3 and 9 of its shortest
        edges, less in a small volume.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; 0.4 to 1 in a body.
    """
    field = draw.Field.checked("ellipsoids", shape, voxel)
    low, high = field.fitting((3 * field.short, 9 * field.short) if radius is None else radius)
    draw.check_positive("ellipsoids", radius=low)
    if count is None:
        count = field.count(0.03, (low + high) / 2)
    return _ellipsoids(field, seed, count, (low, high), device, axes=3)


def rods(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    length: tuple[float, float] | None = None,
    diameter: float | None = None,
    voxel: Sequence[float] = draw.UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return straight rods with round ends, turned at random, like bacteria.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Extents of the volume.
    seed : int
        The same seed gives the same specimen.
    count : int, optional
        Number of rods; by default one in a cube of 24 shortest edges.
    length : (float, float), optional
        Shortest and longest rod, ends included, in the unit of `voxel`; by default 8 and 24 of
        its shortest edges. None is longer than two thirds of the volume's shortest side.
    diameter : float, optional
        Thickness of the rods; by default 3 of the shortest edges.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; 0.4 to 1 in a rod.
    """
    field = draw.Field.checked("rods", shape, voxel)
    thick = 3 * field.short if diameter is None else diameter
    asked = (8 * field.short, 24 * field.short) if length is None else length
    draw.check_positive("rods", diameter=thick, length=min(asked))
    longest = 2 * min(field.size) / 3
    low, high = (max(0.0, min(float(side), longest) - thick) for side in asked)
    if count is None:
        count = max(1, round(math.prod(field.size) / (24 * field.short) ** 3))
    source = draw.generator(seed, None)
    volume = torch.zeros(field.extents, device=device)
    earlier: list[Tensor] = []
    for _ in range(count):
        heading = draw.normal(source, 3)
        half = heading / heading.norm() * (draw.uniform(source, low, high, 1) / 2)
        brightness = float(draw.uniform(source, 0.4, 1.0, 1))
        place = draw.place(source, field, half.abs() + thick / 2, earlier)
        draw.add_rod(volume, field.edges, place.tolist(), half.tolist(), thick / 2, brightness)
    return volume


def _ellipsoids(
    field: draw.Field,
    seed: int,
    count: int,
    radius: tuple[float, float],
    device: torch.device | str | None,
    *,
    axes: int,
    wall: float | None = None,
) -> Tensor:
    """Return bodies whose half axes differ (`axes` 3, turned at random) or agree (`axes` 1)."""
    source = draw.generator(seed, None)
    volume = torch.zeros(field.extents, device=device)
    earlier: list[Tensor] = []
    for _ in range(count):
        radii = draw.uniform(source, *radius, axes).expand(3)
        turn = draw.rotation(source) if axes == 3 else None
        brightness = float(draw.uniform(source, 0.4, 1.0, 1))
        reach = draw.reach(radii, turn) + (wall or 0.0) / 2
        place = draw.place(source, field, reach, earlier)
        draw.add_ellipsoid(volume, field.edges, place, radii, brightness, wall=wall, turn=turn)
    return volume
