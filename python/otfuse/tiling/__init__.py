# SPDX-License-Identifier: BSD-3-Clause
"""Images larger than what is computed at once: plan tiles, cut them, blend their results."""

from otfuse.tiling.blend import WINDOWS, Blend, blend, map_tiles
from otfuse.tiling.budget import plan_within
from otfuse.tiling.device import (
    carrier_to,
    from_device,
    gpu_here,
    pinned_bytes,
    restore_on_device,
    shuttle_to,
    stream_through,
    to_device,
)
from otfuse.tiling.job_plan import measure_rate
from otfuse.tiling.loop_plan import LoopPlan, plan_loop
from otfuse.tiling.plan import Tile, TilePlan, cut, plan_tiles
from otfuse.tiling.planned import Plan
from otfuse.tiling.reach import psf_halo, psf_reach
from otfuse.tiling.richardson_lucy import TiledLoop, richardson_lucy
from otfuse.tiling.seams import Seam, seam_size
from otfuse.tiling.shared import (
    count_bytes,
    count_iterations,
    observed_mean,
    plan_pilot,
    tile_around,
)
from otfuse.tiling.stream import in_turns, stream_tiles

__all__ = [
    "WINDOWS",
    "Blend",
    "LoopPlan",
    "Plan",
    "Seam",
    "Tile",
    "TilePlan",
    "TiledLoop",
    "blend",
    "carrier_to",
    "count_bytes",
    "count_iterations",
    "cut",
    "from_device",
    "gpu_here",
    "in_turns",
    "map_tiles",
    "measure_rate",
    "observed_mean",
    "pinned_bytes",
    "plan_loop",
    "plan_pilot",
    "plan_tiles",
    "plan_within",
    "psf_halo",
    "psf_reach",
    "restore_on_device",
    "richardson_lucy",
    "seam_size",
    "shuttle_to",
    "stream_through",
    "stream_tiles",
    "tile_around",
    "to_device",
]
