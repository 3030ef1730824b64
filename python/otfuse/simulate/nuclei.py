# SPDX-License-Identifier: BSD-3-Clause
"""Nuclei: large bodies with a texture, bright at the rim, with dark nucleoli."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import _draw as draw

_CONTRAST = 0.7  # standard deviation of the logarithm of the texture
_RIM, _RIM_WIDTH = 0.5, 0.08  # how much brighter the rim is, and its width in radii
_HOLE = 0.8  # how much of the dye a nucleolus lacks
_DARK = 1e-30  # of a volume without nuclei


def nuclei(
    shape: Sequence[int],
    *,
    seed: int,
    count: int | None = None,
    radius: tuple[float, float] | None = None,
    grain: float | None = None,
    voxel: Sequence[float] = draw.UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return ellipsoids filled with a random texture, like chromatin stained in a cell's nucleus.

    The texture is log-normal with correlations on all lengths up to `grain` (a Matern field); the
    rim is brighter, and one to three spheres inside, the nucleoli, are darker.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Extents of the volume.
    seed : int
        The same seed gives the same specimen.
    count : int, optional
        Number of nuclei; by default so many that they fill some twelve per cent of the volume.
    radius : (float, float), optional
        Shortest and longest half axis, in the unit of `voxel`; by default 12 and 22 of its
        shortest edges, less in a small volume.
    grain : float, optional
        Length over which the texture forgets itself; by default 4 of the shortest edges.
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length.
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, not negative; about 0.3 in the mean over a nucleus, the
    brightest voxel 1.
    """
    field = draw.Field.checked("nuclei", shape, voxel)
    low, high = field.fitting((12 * field.short, 22 * field.short) if radius is None else radius)
    length = 4 * field.short if grain is None else grain
    draw.check_positive("nuclei", radius=low, grain=length)
    if count is None:
        count = field.count(0.12, (low + high) / 2)
    source = draw.generator(seed, None)
    body = torch.zeros(field.extents, device=device)
    holes = torch.zeros_like(body)
    earlier: list[Tensor] = []
    for _ in range(count):
        radii = draw.uniform(source, low, high, 3)
        turn = draw.rotation(source)
        place = draw.place(source, field, draw.reach(radii, turn), earlier)
        draw.add_ellipsoid(body, field.edges, place, radii, 1.0, turn=turn)
        wall = _RIM_WIDTH * float(radii.mean())
        inner = radii - wall / 2
        draw.add_ellipsoid(body, field.edges, place, inner, _RIM, wall=wall, turn=turn)
        for _ in range(int(draw.uniform(source, 1.0, 4.0, 1))):
            size = float(draw.uniform(source, 0.12, 0.22, 1)) * radii.min()
            aside = draw.uniform(source, -0.35, 0.35, 3) * radii.min()
            draw.add_ellipsoid(holes, field.edges, place + aside, size.expand(3), 1.0)
    texture = draw.smooth_noise(source, field, length).to(body.device)
    volume = body * torch.exp(_CONTRAST * texture) * (1 - _HOLE * holes.clamp(max=1))
    return volume / volume.max().clamp(min=_DARK)
