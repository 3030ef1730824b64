# SPDX-License-Identifier: BSD-3-Clause
"""Images larger than what is computed at once: plan tiles, cut them, blend their results."""

from otfuse.tiling.blend import WINDOWS, Blend, blend, map_tiles
from otfuse.tiling.budget import plan_within
from otfuse.tiling.plan import Tile, TilePlan, cut, plan_tiles
from otfuse.tiling.seams import Seam, seam_size
from otfuse.tiling.stream import stream_tiles

__all__ = [
    "WINDOWS",
    "Blend",
    "Seam",
    "Tile",
    "TilePlan",
    "blend",
    "cut",
    "map_tiles",
    "plan_tiles",
    "plan_within",
    "seam_size",
    "stream_tiles",
]
