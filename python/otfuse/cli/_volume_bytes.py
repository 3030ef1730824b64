# SPDX-License-Identifier: BSD-3-Clause
"""Memory that work on a tile of a volume takes: of the machine, and of a GPU where one computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from otfuse.cli._options import DeconvolveOptions
from otfuse.io import Volume

CHUNK = (1, 1, 64, 128, 128)  # of the result
# Per voxel of a tile besides the loop: its counts in float32, which its result takes the place of,
# and the counts of the next tile or the result of the last one.
_HELD = 4 + 4
# Bytes while they are unpacked, as they are and as stored; and while each thread packs them.
_UNPACKED, _PACKED = 2, 5


@dataclass(frozen=True)
class TileBytes:
    """What a job's tiles take, by the extents of their boxes and their own.

    Attributes
    ----------
    options : DeconvolveOptions
        Settled.
    source : Volume
    psf_shape : tuple of int
    rows : bool
        Whether results meet in memory and whole rows of tiles are written, not blocks.
    pilot : bool
        Whether the work is to find the number of iterations.
    """

    options: DeconvolveOptions
    source: Volume
    psf_shape: tuple[int, ...]
    rows: bool = False
    pilot: bool = False

    @property
    def device(self) -> str:
        """Where the work is done."""
        compute = self.options.compute
        return compute.here if self.pilot else compute.device

    @property
    def on_gpu(self) -> bool:
        """Whether the work takes a GPU's memory."""
        return self.device != "cpu"

    def here(self, box: Sequence[int], tile: Sequence[int]) -> int:
        """Of the machine's memory."""
        work = 0 if self.on_gpu else self._work(box, tile)
        return work + self._held(tile) + unpacking_bytes(self.source, tile)

    def there(self, box: Sequence[int], tile: Sequence[int]) -> int:
        """Of a GPU's memory; 0 on the CPU."""
        from otfuse.tiling.job_plan import on_device

        return self._work(box, tile) + on_device(tile) if self.on_gpu else 0

    def _work(self, box: Sequence[int], tile: Sequence[int]) -> int:
        from otfuse.functional.rl_tile import RichardsonLucyTile
        from otfuse.tiling import count_bytes

        options, device = self.options, self.device.partition(":")[0]
        if self.pilot:
            return count_bytes(
                box,
                tile,
                psf_shape=self.psf_shape,
                stop=options.stop_rule,
                acceleration=options.momentum,
                tv=options.tv > 0,
                device=device,
            )
        return RichardsonLucyTile.work_bytes(
            box,
            tile,
            acceleration=options.momentum,
            back_projector=options.projector is not None,
            tv=options.tv > 0,
            device=device,
        )

    def _held(self, tile: Sequence[int]) -> int:
        """Counts and results that wait, besides the work."""
        from otfuse.jobs.run import THREADS
        from otfuse.tiling import pinned_bytes
        from otfuse.tiling.job_plan import held_bytes

        on_gpu, pinned, counts = self.on_gpu, pinned_bytes(tile), 4 * prod(tile)
        if self.rows:  # on a GPU both ways of two tiles, in place of one tile's counts
            held = held_bytes(tile, shape=self.source.shape[2:])
            return held - counts + 4 * pinned if on_gpu else held
        each = THREADS * (counts + 2 * pinned) if on_gpu else _HELD * prod(tile)
        return each + packing_bytes(self.source)


def unpacking_bytes(source: Volume, tile: Sequence[int]) -> int:
    """Memory for a moment while a tile (z, y, x) is read."""
    from otfuse.jobs.heap import CHUNKS_AT_ONCE

    layer = min(source.layer, tile[0]) * prod(tile[1:])
    chunks = _UNPACKED * CHUNKS_AT_ONCE * prod(source.chunks)
    return source.dtype.itemsize * (layer + chunks)


def packing_bytes(source: Volume) -> int:
    """Memory while blocks of a result of a source's extents are put together and packed."""
    from otfuse.jobs.run import THREADS

    return THREADS * _PACKED * 4 * prod(map(min, CHUNK, source.shape))
