# SPDX-License-Identifier: BSD-3-Clause
"""Mixed specimens: one to look at, and any number of random ones to train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import _draw as draw
from .bodies import beads, ellipsoids, rods, shells
from .nuclei import nuclei
from .points import dots, filaments

KINDS: dict[str, Callable[..., Tensor]] = {
    "dots": dots,
    "beads": beads,
    "rods": rods,
    "ellipsoids": ellipsoids,
    "shells": shells,
    "filaments": filaments,
    "nuclei": nuclei,
}
_STRIDE = 1 << 20  # between the seeds of the kinds that one specimen holds


def specimen(
    shape: Sequence[int],
    seed: int,
    *,
    voxel: Sequence[float] = draw.UNIT_VOXEL,
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
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (nz, ny, nx), float32, between 0 and 1.
    """
    drawn = filaments(shape, seed=3 * seed, voxel=voxel, device=device)
    drawn = drawn + shells(shape, seed=3 * seed + 1, voxel=voxel, device=device)
    drawn = drawn + beads(shape, seed=3 * seed + 2, voxel=voxel, device=device)
    return drawn / drawn.max()


def phantoms(
    count: int,
    shape: Sequence[int],
    *,
    seed: int,
    kinds: Sequence[str] = ("dots", "beads", "rods", "ellipsoids", "shells"),
    voxel: Sequence[float] = draw.UNIT_VOXEL,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return random mixtures of simple bodies, to train and to test restoration on.

    Each volume holds at least one of the kinds; each kind is left out of a third of the volumes
    and otherwise brightened by a random factor between 0.3 and 1.

    Parameters
    ----------
    count : int
        Number of volumes.
    shape : (nz, ny, nx)
        Extents of one volume.
    seed : int
        The same seed gives the same volumes, and volume i is the same whatever `count` is.
    kinds : sequence of str
        Out of "dots", "beads" (solid spheres), "rods", "ellipsoids", "shells" (hollow
        ellipsoids), "filaments" and "nuclei".
    voxel : (dz, dy, dx)
        Edges of a voxel, in any unit of length; anisotropic ones are drawn as such.
    device : torch.device or str, optional
        Where the volume is made; the CPU unless told.

    Returns
    -------
    Tensor, shape (count, nz, ny, nx), float32, between 0 and 1 with the brightest voxel of each
    volume 1.

    Raises
    ------
    ValueError  if count is below 1, a kind is unknown or none is given.

    References
    ----------
    Li, Su, Guo et al. 2022, Nat. Methods 19, 1427 (dots, solid spheres and ellipsoidal surfaces
    as training data).
    """
    field = draw.Field.checked("phantoms", shape, voxel)
    if count < 1:
        raise ValueError(f"phantoms: count must be at least 1, got {count}")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(
            f"phantoms: kinds must be some of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}"
        )
    volumes = torch.empty(count, *field.extents, device=device)
    for i, volume in enumerate(volumes):
        _mix(volume, field, seed * 1000003 + i, kinds)
    return volumes


def _mix(volume: Tensor, field: draw.Field, seed: int, kinds: Sequence[str]) -> None:
    source = draw.generator(seed, None)
    chosen = draw.uniform(source, 0.0, 1.0, len(kinds)) > 1 / 3
    chosen[int(draw.uniform(source, 0.0, len(kinds), 1))] = True
    volume.zero_()
    for i, kind in enumerate(kinds):
        brightness = float(draw.uniform(source, 0.3, 1.0, 1))
        if chosen[i]:
            options = {"voxel": field.edges, "device": volume.device}
            drawn = KINDS[kind](field.extents, seed=seed + _STRIDE * (i + 1), **options)
            volume.add_(drawn, alpha=brightness)
    volume /= volume.max()
