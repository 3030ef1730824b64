# SPDX-License-Identifier: BSD-3-Clause
"""Begin a job, or go on with one that was interrupted."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otfuse.io import VolumeWriter, check_target, reopen_volume
from otfuse.jobs.ledger import Ledger

# Inside the first level's array, where no reader of groups comes upon it.
_FOLDER = Path("0") / ".job"
Create = Callable[[Path], VolumeWriter]


def job_folder(output: Path) -> Path:
    """Where a job keeps its ledger and what it is working on."""
    return output / _FOLDER


def find_ledger(output: Path, *, overwrite: bool = False) -> Ledger | None:
    """The ledger of an output that was begun; None if there is no output, or it is to go.

    Parameters
    ----------
    output : Path
        Held by `only_run`.
    overwrite : bool
        Whether what is there does not count.

    Raises
    ------
    FileExistsError  if there is an output that no job began, or a folder that is no Zarr.
    OSError  if the output cannot be written, see `otfuse.io.check_target`.
    """
    if _partial(output).exists():
        shutil.rmtree(_partial(output))  # a run was killed while it began
    if overwrite or not output.exists():
        if not job_folder(output).exists():  # an unfinished job is no Zarr yet, but ours
            check_target(output, overwrite=overwrite, zarr=True)
        return None
    folder = job_folder(output)
    try:
        return Ledger(folder)
    except FileNotFoundError:
        raise FileExistsError(
            errno.EEXIST, "output exists; choose another name or give --overwrite", str(output)
        ) from None


def begin(
    output: Path,
    create: Create,
    parameters: Mapping[str, Any],
    settled: Mapping[str, Any],
) -> Ledger:
    """Make an output that has its ledger from the moment it is there.

    Parameters
    ----------
    output : Path
        Held by `only_run`; what is there is removed.
    create : callable
        Makes the volume at a path.
    parameters, settled
        As for `Ledger.start`.
    """
    with _taking_place(output) as made:
        create(made)
        folder = job_folder(made)
        folder.mkdir()
        Ledger.start(folder, parameters, settled)
    return Ledger(job_folder(output))


def hand_over(work: Path, output: Path, create: Callable[[Path], Any]) -> None:
    """Have what is made of a finished job take its place, with the job's ledger.

    Parameters
    ----------
    work : Path
        The finished job's output; removed.
    output : Path
        Held by `only_run`; what is there is removed.
    create : callable
        Makes the output, complete, at a path.
    """
    with _taking_place(output) as made:
        create(made)
        shutil.copytree(job_folder(work), job_folder(made))
    shutil.rmtree(work)


def reopen(output: Path, ledger: Ledger) -> VolumeWriter | None:
    """The output to go on writing to; None if nothing is left to do.

    Parameters
    ----------
    output : Path
    ledger : Ledger
        Of that output.
    """
    if ledger.finished:
        return None
    try:
        return reopen_volume(output)
    except ValueError:  # killed between the metadata and the ledger's last line
        ledger.finish()
        return None


@contextmanager
def _taking_place(output: Path) -> Iterator[Path]:
    """Where to make an output that is there, in the place of an old one, when the block ends."""
    partial = _partial(output)
    partial.mkdir()
    made = partial / output.name
    yield made
    if output.is_symlink():  # what it points to is kept, as with a file
        output.unlink()
    elif output.exists():
        shutil.rmtree(output)
    made.rename(output)
    partial.rmdir()


def _partial(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")
