# SPDX-License-Identifier: BSD-3-Clause
"""One run on an output at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from otfuse.io import check_folder

# An owner on another machine that has not been heard of for so long is dead.
_LEASE_SECONDS = 60.0
_PATIENCE = 2.0  # seconds: a process that was just killed takes a moment to be gone


class OutputInUse(RuntimeError):
    """Another run writes to the output, or has taken it over."""


@contextmanager
def only_run(output: Path, *, lease: float = _LEASE_SECONDS) -> Iterator[SoftFileLease]:
    """Hold the output; what a dead owner held is taken over.

    The owner's process and host stand in a file beside the output, which the owner touches every
    third of the lease. It counts as dead when its process is gone from this host, or when it has
    not touched the file for the length of the lease.

    Parameters
    ----------
    output : Path
        Need not exist; its folder must.
    lease : float
        Seconds.

    Yields
    ------
    The lock; its `compromise` is set where another run took it over.

    Raises
    ------
    OutputInUse  if another run holds it.
    FileNotFoundError  if its folder does not exist.
    """
    check_folder(output.parent)
    held = SoftFileLease(
        output.with_name(f".{output.name}.lock"), lease_duration=lease, timeout=_PATIENCE
    )
    try:
        held.acquire()
    except Timeout:
        owner = f" (process {held.pid})" if held.pid else ""
        raise OutputInUse(
            f"jobs: output must not be written by another run, got {output}, which one is "
            f"working on{owner}; wait for it, or choose another output"
        ) from None
    try:
        yield held
    finally:
        held.release()
