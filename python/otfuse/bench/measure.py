# SPDX-License-Identifier: BSD-3-Clause
"""Clock, memory and machine: nothing here knows what is measured."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")

COPY_BYTES = 2**28  # each way: well beyond any last-level cache that a process has to itself
MOST_ITERS = 200
LEAST_ITERS = 3
ROUND_SECONDS = 0.5  # one timed call should take about this long


def seconds(run: Callable[[], object]) -> float:
    """Return the wall-clock time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def copy_bandwidth() -> float:
    """Return bytes read plus written per second by torch's threads in a large copy.

    The faster of a plain copy and a copy with a factor: the one may use stores that bypass the
    cache and the other not, which of them wins depends on the machine.
    """
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    ways = (lambda: target.copy_(source), lambda: torch.mul(source, 1.5, out=target))
    times = []
    for way in ways:
        way()
        times.append(statistics.median(seconds(way) for _ in range(7)))
    return 2 * COPY_BYTES / min(times)


def iterations_for(run: Callable[[int], object]) -> int:
    """Return how many iterations make a call long enough to time, short enough to repeat."""
    once = seconds(lambda: run(1))
    each = max((seconds(lambda: run(LEAST_ITERS)) - once) / (LEAST_ITERS - 1), 1e-6)
    return max(LEAST_ITERS, min(MOST_ITERS, round(ROUND_SECONDS / each)))


def alternate(runs: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Time one iteration of each, in turns, so that what else the machine does hits all alike.

    An iteration is the difference between a call of many and a call of one, so what a call does
    once (checks, the spectrum of the PSF, copies in and out) is not in it.

    Parameters
    ----------
    runs : mapping of str to function of int
        Called with the number of iterations.
    rounds : int
        Number of turns.

    Returns
    -------
    dict of str to list of float
        Seconds per iteration, one value for each turn.
    """
    counts = {name: iterations_for(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            once = seconds(lambda run=run: run(1))  # type: ignore[misc]
            many = seconds(lambda run=run, n=counts[name]: run(n))  # type: ignore[misc]
            each = (many - once) / (counts[name] - 1)
            # A disturbed first call can outlast many: then the whole call is the safe bound.
            times[name].append(each if each > 0 else many / counts[name])
    return times


def _resident(field: str) -> int | None:
    """Return VmRSS or VmHWM of this process in bytes, None where the system has no such file."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{field}:")), None)


def timed_with_peak(run: Callable[[], T]) -> tuple[T, float, int | None]:
    """Return the result, the seconds, and the most memory taken beyond what was held before."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget earlier peaks
    except OSError:
        before = None
    else:
        before = _resident("VmRSS")
    start = time.perf_counter()
    result = run()
    elapsed = time.perf_counter() - start
    peak = _resident("VmHWM")
    return result, elapsed, None if before is None or peak is None else max(peak - before, 0)


def processor() -> str:
    """Return the processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return what a reader needs to know about where the numbers come from."""
    from otfuse import __version__, simd_level

    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "processor": processor(),
        "instruction_set": simd_level(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "otfuse": __version__,
        "copy_bytes_per_second": copy_bandwidth(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
