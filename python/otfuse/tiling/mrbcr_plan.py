# SPDX-License-Identifier: BSD-3-Clause
"""Tiles for m-rBCR: planes as a whole where memory allows it, else cut where it sees no further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from otfuse.tiling.budget import plan_within
from otfuse.tiling.plan import TilePlan

# The released networks see 104 pixels far along x, where they filter at a quarter of the
# resolution, and 64 along y: what lies nearer to a tile's inner edge differs by more than 1e-4 of
# the maximum and is not used. The rest of the overlap is blended.
MARGIN, OVERLAP, MULTIPLE, SMALLEST = 104, 216, 4, 16
_RAMP = 8
BATCH_PIXELS = 512 * 512  # of the tiles that go through at once
_OWN_BYTES = 64 << 20  # up to which each thread takes a tile of its own
# Bytes: of a pixel of a tile in the published network's buffers; of one in input and results.
_BUFFERS, _ENDS = 632, 18
_REFLECTED = 16  # pixels that frequency blocks add to an extent


@dataclass(frozen=True)
class MrbcrMemory:
    """What the two networks take.

    Attributes
    ----------
    widths : (channels, bands), optional
        Of the network of frequency blocks; None is the published one.
    device : {"cpu", "cuda"}
    threads : int, optional
        By default `torch.get_num_threads()`.
    """

    widths: tuple[int, int] | None = None
    device: str = "cpu"
    threads: int | None = None

    def network(self, tile: Sequence[int]) -> int:
        """Bytes of the network on as many tiles (y, x) as go through at once."""
        pixels, batch = prod(tile), batch_of(tile)
        if self.widths is None:
            own = self.device == "cpu" and _BUFFERS * pixels <= _OWN_BYTES
            copies = min(batch, self.threads or torch.get_num_threads()) if own else 1
            return (_BUFFERS * copies + _ENDS * batch) * pixels
        channels, bands = self.widths
        features = (29 * channels + 16 * bands + 16) * batch
        if self.device == "cuda":  # the symbol, which the CPU makes where it uses it
            features += 4 * channels**2
        return features * prod(n + _REFLECTED for n in tile)

    def plane(self, tile: Sequence[int], shape: Sequence[int]) -> int:
        """Bytes of working through a plane: image and result, tiles cut and rows blended.

        On a device there are also the next image and the last result.
        """
        held = (16 if self.device == "cuda" else 8) * prod(shape) + 4 * batch_of(tile) * prod(tile)
        return held + (8 if tile[0] < shape[0] else 4) * tile[0] * shape[1]

    def __call__(self, tile: Sequence[int], shape: Sequence[int]) -> int:
        """All of it."""
        return self.network(tile) + self.plane(tile, shape)


def batch_of(tile: Sequence[int]) -> int:
    """Tiles that go through the network at once."""
    return max(1, BATCH_PIXELS // prod(tile))


def plan_mrbcr(
    extents: Sequence[int],
    max_bytes: int | None = None,
    *,
    memory: MrbcrMemory | None = None,
    overlap: int = OVERLAP,
) -> TilePlan:
    """Tiles of a plane.

    The blocks of the other network take a tile for periodic and know no distance beyond which
    nothing matters, so a plane stays whole for it.

    Parameters
    ----------
    extents : (ny, nx)
    max_bytes : int, optional
        Memory that working through the plane may take; without it the plane is one tile.
    memory : MrbcrMemory, optional
        By default that of the published network.
    overlap : int
        Pixels that neighbours share.

    Raises
    ------
    ValueError  if the extents are below 16, or not even the smallest tile fits.
    """
    shape, memory = tuple(int(n) for n in extents), memory or MrbcrMemory()
    if len(shape) != 2 or min(shape) < SMALLEST:
        raise ValueError(
            f"plan_mrbcr: extents must be two of at least {SMALLEST}, got {tuple(extents)}"
        )
    whole = memory(shape, shape)
    if max_bytes is not None and memory.widths is not None and whole > max_bytes:
        raise ValueError(
            f"plan_mrbcr: max_bytes must hold the work on a whole plane for frequency blocks, "
            f"which see all of it: {whole} bytes, got {max_bytes}"
        )
    return plan_within(
        shape,
        lambda tile: memory(tile, shape),
        whole if max_bytes is None else max(1, max_bytes),
        overlap=overlap,
        multiple=MULTIPLE,
        margin=margin_of(overlap),
    )


def margin_of(overlap: int) -> int:
    """Pixels at a tile's inner edge that are not used; a short overlap leaves some to blend."""
    return max(0, min(MARGIN, (overlap - _RAMP) // 2))
