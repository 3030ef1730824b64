# SPDX-License-Identifier: BSD-3-Clause
"""Check, then time, entry by entry."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from .cases import build_case
from .entries import Entry
from .measure import alternate, machine, seconds, timed_with_peak

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}  # norm-wise, after three iterations
BYTES_PER_VALUE = 13  # values moved per voxel and iteration: 52 B in float32


def relative_error(result: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the norm of the expected."""
    difference = torch.linalg.vector_norm(result.double() - expected)
    return float(difference / torch.linalg.vector_norm(expected))


def checked_error(entry: Entry, who: str, result: Tensor, expected: Tensor) -> float:
    """Return the error, or refuse to time something that is wrong."""
    error = relative_error(result, expected)
    if not error <= TOLERANCE[entry.dtype]:
        raise RuntimeError(
            f"bench: {who} must match the reference to {TOLERANCE[entry.dtype]:.0e} "
            f"on {entry.name}, got {error:.1e}"
        )
    return error


def run_entry(entry: Entry, rounds: int, bandwidth: float) -> dict[str, Any]:
    """Return the measurements of one entry.

    Parameters
    ----------
    entry : Entry
        What to time.
    rounds : int
        How often each contender has its turn.
    bandwidth : float
        Bytes per second that a copy moves on this machine.
    """
    case = build_case(entry)
    expected = case.reference()
    contenders = {"otfuse": case.otfuse, "plain": case.plain}
    measured: dict[str, Any] = {}
    for who, contender in contenders.items():
        result, cold, peak = timed_with_peak(contender.cold)
        error = checked_error(entry, who, result, expected)
        measured[who] = {"cold_seconds": cold, "peak_bytes": peak, "error": error}
        del result
    del expected

    runs: dict[str, Callable[[int], object]] = {w: c.prepare() for w, c in contenders.items()}
    times = alternate({**runs, **case.peers}, rounds)
    for who, values in times.items():
        measured.setdefault(who, {}).update(
            iteration_seconds=statistics.median(values), all_seconds=values
        )
    median = measured["otfuse"]["iteration_seconds"]
    ratios = {
        who: statistics.median(b / a for a, b in zip(times["otfuse"], values, strict=True))
        for who, values in times.items()
    }
    share = None
    if entry.op == "richardson_lucy":
        moved = BYTES_PER_VALUE * getattr(torch, entry.dtype).itemsize * case.voxels
        share = moved / median / bandwidth
    return {
        "name": entry.name,
        "entry": asdict(entry),
        "voxels": case.voxels,
        "ns_per_voxel": median / case.voxels * 1e9,
        "bandwidth_share": share,
        "ratios": {who: ratio for who, ratio in ratios.items() if who != "otfuse"},
        "measured": measured,
    }


def first_operation() -> None:
    """Run something tiny: torch imports parts of itself when an operation is first used."""
    case = build_case(Entry("richardson_lucy", (8, 8), (3, 3)))
    case.otfuse.cold()
    case.plain.cold()


def run_entries(
    entries: Sequence[Entry],
    *,
    rounds: int = 5,
    progress: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Return the machine and the measurements of all entries, ready for JSON.

    Parameters
    ----------
    entries : sequence of Entry
        What to time, in this order.
    rounds : int
        How often each contender has its turn.
    progress : function of str
        Told the name of each entry before it is run.
    """
    here = {**machine(), "first_operation_seconds": seconds(first_operation)}
    results = []
    for entry in entries:
        progress(entry.name)
        results.append(run_entry(entry, rounds, here["copy_bytes_per_second"]))
    return {"machine": here, "results": results}
