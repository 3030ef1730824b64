# SPDX-License-Identifier: BSD-3-Clause
"""What restoring an image by a network takes: tiles by what it sees, memory, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from otfuse import _checks
from otfuse.functional import rln_bytes, row_strips
from otfuse.tiling.mrbcr_plan import SMALLEST, MrbcrMemory, plan_mrbcr
from otfuse.tiling.plan import TilePlan
from otfuse.tiling.planned import Extents, Plan
from otfuse.tiling.rln_plan import DEVICE_BYTES, plan_rln, rln_rows_bytes, rln_volume_bytes

_NAME = "plan"


@dataclass(frozen=True)
class NetworkJob:
    """A network and where it computes.

    Attributes
    ----------
    algorithm : {"rln", "mrbcr", "mrbcr_frequency"}
    device : str
    threads : int or None
    widths : (channels, bands)
        Of the network of frequency blocks.
    """

    algorithm: str
    device: str
    threads: int | None
    widths: tuple[int, int]

    @property
    def kind(self) -> str:
        """The device without its number."""
        return self.device.partition(":")[0]


def plan_network(
    job: NetworkJob, extents: Extents, max_memory: int | None, rate: float | None
) -> Plan:
    """The plan of a job.

    Parameters
    ----------
    job : NetworkJob
    extents : tuple of int
        Of the image.
    max_memory : int, optional
        Bytes that it may take.
    rate : float, optional
        Nanoseconds per voxel of the tiles.

    Raises
    ------
    ValueError  if the image is none for the network, or not even the smallest tile fits.
    """
    if max_memory is not None:
        _checks.at_least(_NAME, "max_memory", max_memory, 1)
    if job.algorithm == "rln":
        _check_volume(extents)
        need = rln_rows_bytes(extents, threads=job.threads) if job.kind == "cpu" else None
        if need is not None and (max_memory is None or need <= max_memory):
            return _by_rows(job, extents, need, rate)
    of = _of_rln if job.algorithm == "rln" else _of_mrbcr
    tiles, order, images, parts = of(job, extents, max_memory)
    lead = (1,) * (len(extents) - len(order))
    tile = lead + tuple(tiles.tile[i] for i in order)
    overlap = tuple(0 for _ in lead) + tuple(tiles.overlap[i] for i in order)
    voxels = images * sum(prod(tile.shape) for tile in tiles)
    seconds = None if rate is None else 1e-9 * rate * voxels
    n_tiles = images * len(tiles)
    return Plan(job.algorithm, job.device, extents, tile, tile, overlap, n_tiles, 1, parts, seconds)


def _check_volume(extents: Extents) -> None:
    if len(extents) != 3 or min(extents) < 2:
        raise ValueError(
            f"{_NAME}: shape must be three extents of at least 2 for rln, got {extents}"
        )


def _by_rows(job: NetworkJob, extents: Extents, need: int, rate: float | None) -> Plan:
    """RLN on the CPU, strip of rows after strip, nothing computed twice."""
    strips = row_strips(extents, threads=job.threads)
    network = rln_bytes(extents, threads=job.threads)
    height = max(strip.makes.stop - strip.makes.start for strip in strips)
    tile = (extents[0], height, extents[2])
    parts = {"network": network, "rows read and restored": need - network}
    seconds = None if rate is None else 1e-9 * rate * prod(extents)
    return Plan(
        job.algorithm, job.device, extents, tile, tile, (0, 0, 0), len(strips), 1, parts, seconds
    )


_Planned = tuple[TilePlan, Sequence[int], int, dict[str, int]]


def _of_rln(job: NetworkJob, extents: Extents, max_memory: int | None) -> _Planned:
    """Tiles, the order of their axes that is the image's, images, and the bytes."""
    nz, ny, nx = extents
    on_device = job.kind == "cuda"

    def bytes_of(tile: Sequence[int]) -> int:
        if on_device:
            return DEVICE_BYTES * prod(tile)
        return rln_volume_bytes(tile, (ny, nz, nx), threads=job.threads)

    allowed = bytes_of((ny, nz, nx)) if max_memory is None else max_memory
    try:
        tiles = plan_rln(extents, allowed, bytes_of=bytes_of)
    except ValueError as error:
        raise _too_little(allowed, error) from None
    ty, tz, tx = tiles.tile
    network = 0 if on_device else rln_bytes((tz, ty, tx), threads=job.threads)
    parts = {"network": network, "tiles read and blended": bytes_of(tiles.tile) - network}
    return tiles, (1, 0, 2), 1, parts


def _of_mrbcr(job: NetworkJob, extents: Extents, max_memory: int | None) -> _Planned:
    """The same; each plane is an image of its own."""
    if len(extents) not in (2, 3) or min(extents[-2:]) < SMALLEST:
        raise ValueError(
            f"{_NAME}: shape must be two or three extents, the last two at least {SMALLEST}, for "
            f"{job.algorithm}, got {extents}"
        )
    widths = job.widths if job.algorithm == "mrbcr_frequency" else None
    memory, plane = MrbcrMemory(widths, job.kind, job.threads), extents[-2:]
    try:
        tiles = plan_mrbcr(plane, max_memory, memory=memory)
    except ValueError as error:
        raise _too_little(max_memory, error) from None
    parts = {
        "network": memory.network(tiles.tile),
        "tiles cut and blended": memory.plane(tiles.tile, plane),
    }
    return tiles, (0, 1), prod(extents[:-2]), parts


def _too_little(allowed: int | None, error: ValueError) -> ValueError:
    return ValueError(
        f"{_NAME}: max_memory must hold the work on a tile, got {allowed} bytes ({error}); "
        "allow more memory"
    )
