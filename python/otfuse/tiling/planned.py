# SPDX-License-Identifier: BSD-3-Clause
"""What a planned job is: grid, tiles, memory and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otfuse.tiling.loop_plan import LoopPlan

NETWORKS = ("rln", "mrbcr", "mrbcr_frequency")
Extents = tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Grid, tiles, memory and time of a job; the same arguments give the same plan.

    Attributes
    ----------
    algorithm, device : str
    shape : tuple of int
        Spatial extents of the image.
    grid : tuple of int
        Extents of the transforms, of one tile where there are several.
    tile, overlap : tuple of int
        Extents of a tile, and how many voxels neighbours share at least; the image and 0 where
        there is one.
    n_tiles : int
    n_iters : int
    parts : mapping of str to int
        Bytes at the peak, besides the program and the image that is handed in.
    seconds : float or None
        Of all iterations of one image; None where no rate is known.
    loop : LoopPlan or None
        Where the tiles lie, if there are several.
    """

    algorithm: str
    device: str
    shape: Extents
    grid: Extents
    tile: Extents
    overlap: Extents
    n_tiles: int
    n_iters: int
    parts: Mapping[str, int]
    seconds: float | None
    loop: LoopPlan | None = None

    @property
    def peak_bytes(self) -> int:
        """Most memory in use at a time, besides the program and the image that is handed in."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        """In a line: `4 tiles of 64 x 300 x 300 that share 40 x 40, ...`."""
        by = " x ".join
        text = f"grid {by(map(str, self.grid))}, {self.peak_bytes / 1e6:.4g} MB"
        if self.n_tiles > 1:
            text = (
                f"{self.n_tiles} tiles of {by(map(str, self.tile))} that share "
                f"{by(map(str, self.overlap))}, {text}"
            )
        if self.seconds is not None:
            work = "" if self.algorithm in NETWORKS else f" for {self.n_iters} iterations"
            text += f", about {self.seconds:.3g} s{work}"
        return text
