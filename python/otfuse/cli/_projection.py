# SPDX-License-Identifier: BSD-3-Clause
"""How long a network would take for a file, from a rate measured here and now."""

from __future__ import annotations

import time
from math import prod

from otfuse.cli._errors import UsageError
from otfuse.cli._predict_volume import plan_volume
from otfuse.cli._report import Report, by_extents, in_time
from otfuse.io import Stack

MODELS = ("rln",)
_EXTENTS = (64, 128, 128)
_ROUNDS = 3


def report_projection(model: str, stack: Stack, report: Report) -> None:
    """Print the time and the tiles of restoring a stack.

    Parameters
    ----------
    model : str
        One of `MODELS`.
    stack : Stack
    report : Report

    Raises
    ------
    UsageError  if the model is none of those, or the volume does not fit.
    """
    if model not in MODELS:
        raise UsageError(f"info: --model must be one of {', '.join(MODELS)}, got {model!r}")
    nt, nc, *extents = stack.data.shape
    if min(extents) < 2:
        raise UsageError(
            f"info: file must have at least 2 voxels along z, y and x for {model}, got "
            f"{by_extents(tuple(extents))}"
        )
    plan = plan_volume(extents)
    ty, tz, tx = plan.tile
    computed = nt * nc * sum(prod(tile.shape) for tile in plan)
    rate = measured_rate()
    report.row(
        "predict",
        f"about {in_time(computed / rate)} with {model} for {nt * nc * len(plan)} tiles of "
        f"{by_extents((tz, ty, tx))}, at {rate / 1e6:.2f} million voxels a second, measured now",
    )


def measured_rate() -> float:
    """Voxels a second of RLN on a volume of 64 x 128 x 128, the best of three."""
    import torch

    from otfuse.nn import RLN

    network, best = RLN().eval(), float("inf")
    volume = torch.rand(_EXTENTS)
    network.restore(volume)
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        network.restore(volume)
        best = min(best, time.perf_counter() - start)
    return prod(_EXTENTS) / best
