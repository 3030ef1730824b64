# SPDX-License-Identifier: BSD-3-Clause
"""Memory and tiles for RLN, tiles as large as memory allows, sharing what the network sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

from otfuse.functional import rln_bytes, row_strips
from otfuse.tiling.budget import plan_within
from otfuse.tiling.plan import TilePlan

# The network sees 17 voxels far and pools by 2: what lies nearer to a tile's inner edge is not
# used, and the rest of the overlap is blended.
MARGIN, OVERLAP, MULTIPLE = 18, 40, 2
DEVICE_BYTES = 80  # of a voxel of a tile in a device's kernels, input and result counted


def plan_rln(
    extents: Sequence[int],
    max_bytes: int,
    *,
    overlap: int = OVERLAP,
    bytes_of: Callable[[Sequence[int]], int] | None = None,
) -> TilePlan:
    """Tiles of a volume over the axes (y, z, x), in which rows of them meet.

    Parameters
    ----------
    extents : (nz, ny, nx)
    max_bytes : int
        Memory that working through the tiles may take.
    overlap : int
        Voxels that neighbours share.
    bytes_of : callable, optional
        Memory of tiles of given extents (y, z, x), where it is not `rln_volume_bytes`.

    Raises
    ------
    ValueError  if not even the smallest tile fits.
    """
    nz, ny, nx = extents
    shape = (ny, nz, nx)
    return plan_within(
        shape,
        bytes_of or partial(rln_volume_bytes, shape=shape),
        max(1, max_bytes),
        overlap=overlap,
        multiple=MULTIPLE,
        margin=margin_of(overlap),
    )


def margin_of(overlap: int) -> int:
    """Voxels at a tile's inner edge that are not used; a short overlap leaves some to blend."""
    return max(0, min(MARGIN, overlap // 2 - 2))


def rln_rows_bytes(
    extents: Sequence[int], views: int = 1, inner_views: int = 1, threads: int | None = None
) -> int:
    """Memory of restoring a volume by rows: two strips read, two results, what the network keeps.

    Of several views their stack comes on top.

    Parameters
    ----------
    extents : (nz, ny, nx)
    views, inner_views : int
        That the network takes, and what they are merged to.
    threads : int, optional
        By default `torch.get_num_threads()`.
    """
    nz, _, nx = extents
    strips = row_strips(extents, inner_views, threads)
    read = max(strip.reads.stop - strip.reads.start for strip in strips)
    made = max(strip.makes.stop - strip.makes.start for strip in strips)
    copies = 2 * views + (views if views > 1 else 0)
    return rln_bytes(extents, inner_views, threads) + 4 * nz * nx * (copies * read + 2 * made)


def rln_volume_bytes(
    tile: Sequence[int], shape: Sequence[int], views: int = 1, threads: int | None = None
) -> int:
    """Memory of working through tiles (y, z, x): two read, one result, rows blended and written.

    Of several views their stack comes on top.
    """
    ty, tz, tx = tile
    voxels, rows = prod(tile), ty * shape[1] * shape[2]
    weight = 4 * voxels if all(t < n for t, n in zip(tile, shape, strict=True)) else 0
    read = 8 * views + (4 * views if views > 1 else 0)
    return (4 + read) * voxels + weight + 8 * rows + rln_bytes((tz, ty, tx), views, threads)
