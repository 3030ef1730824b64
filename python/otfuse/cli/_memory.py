# SPDX-License-Identifier: BSD-3-Clause
"""The memory that a job needs and the memory that there is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otfuse.cli._errors import UsageError
from otfuse.cli._options import parse_memory
from otfuse.cli._report import in_bytes
from otfuse.io.stack import Stack

_SHARE_OF_FREE = 0.75
# Of what there is for the work, or bytes: what the allocator and pages of libraries take on top.
_SLACK, _LEAST_SLACK = 0.03, 16e6
_BATCH_BYTES = 256e6


@dataclass(frozen=True)
class JobMemory:
    """Bytes that a job needs at its peak, in parts."""

    loop: int
    held: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.loop + self.held


def batch_length(stack: Stack) -> int:
    """Time points restored in one call: one stack, or as many 2-D images as make a good batch."""
    nt, nc, nz, ny, nx = stack.data.shape
    if nz > 1:
        return 1
    return int(min(nt, max(1, _BATCH_BYTES // (4 * nc * ny * nx))))


def job_memory(loop_bytes: int, stack: Stack, dtype: str, masked: bool, shown: bool) -> JobMemory:
    """What a job needs besides the arrays of the loop.

    Parameters
    ----------
    loop_bytes : int
        Memory of the iterations for one time point, as the engine plans it.
    stack : Stack
        The image.
    dtype : str
        Of the result.
    masked, shown : bool
        Whether there is a mask, and a preview that needs the first time point kept.
    """
    nc, nz, ny, nx = stack.data.shape[1:]
    volume = nz * ny * nx
    length = batch_length(stack)
    mapped = any(isinstance(a, np.memmap) for a in (stack.data, getattr(stack.data, "base", None)))
    held = 0 if mapped else stack.data.nbytes
    held += length * volume * (4 + masked)  # the image as float32, and its mask
    held += length * nc * volume * 4  # the results of all channels of a time point
    held += nc * volume * 4 if shown else 0
    held += nc * volume * 12 if dtype != "float32" else 0  # a time point while it is scaled
    return JobMemory(loop_bytes * length, held)


def free_memory() -> int | None:
    """Bytes that a process may still take, or None where the system does not tell."""
    found = []
    text = _read("/proc/meminfo")
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    if not found:
        try:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (OSError, ValueError, AttributeError):
            return None
    limit, used = _read("/sys/fs/cgroup/memory.max"), _read("/sys/fs/cgroup/memory.current")
    if limit.strip().isdigit() and used.strip().isdigit():
        found.append(max(0, int(limit) - int(used)))
    return min(found)


def allowed_memory(given: int | None) -> int:
    """Bytes that the work may take besides the program, which counts towards --max-memory, or 0.

    Parameters
    ----------
    given : int, optional
        From --max-memory; by default three quarters of what is free.
    """
    if given is not None:
        room = given - resident()
        return max(0, int(room - max(_SLACK * room, _LEAST_SLACK)))
    free = free_memory()
    return 1 << 62 if free is None else int(_SHARE_OF_FREE * free)


def allowed_for(command: str, max_memory: str | None, workers: int | None = None) -> int:
    """`allowed_memory` of --max-memory as typed, which counts for each of the local workers.

    Without it they share what is free.
    """
    if max_memory is not None:
        return allowed_memory(parse_memory(max_memory, command))
    return allowed_memory(None) // (workers or 1)


def too_little(command: str, work: str, allowed: int, why: object = None) -> UsageError:
    """The refusal of a job of which not even a part fits.

    Parameters
    ----------
    command : str
    work : str
        What memory must hold.
    allowed : int
        What `allowed_memory` says.
    why : object, optional
        Words of the planner.
    """
    reason = "" if why is None else f" ({why})"
    return UsageError(
        f"{command}: memory must hold {work} besides the program itself, {in_bytes(resident())}, "
        f"got {in_bytes(max(0, allowed))} for it{reason}; give a larger --max-memory"
    )


def resident() -> int:
    """Bytes of memory that this process has in use."""
    pages = _read("/proc/self/statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def check_memory(need: JobMemory, allowed: int) -> None:
    """Refuse a job that needs more than is allowed.

    Parameters
    ----------
    need : JobMemory
    allowed : int
        What `allowed_for` says.
    """
    if need.total > allowed:
        raise UsageError(
            f"deconvolve: memory must hold whole images, {in_bytes(need.total)} "
            f"({in_bytes(need.loop)} of it for the iterations) besides the program itself, "
            f"{in_bytes(resident())}, got {in_bytes(allowed)} for it; give --boundary extended and "
            "--acceleration shb, which can be cut into tiles, a smaller PSF or a larger "
            "--max-memory"
        )
