# SPDX-License-Identifier: BSD-3-Clause
"""A file that appears under its name when it is complete, and not at all when it is not."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING_LEFT = "nothing was left behind"


def check_target(
    path: str | Path, *, overwrite: bool = False, n_bytes: int = 0, zarr: bool = False
) -> None:
    """Raise now what writing `path` would raise after hours of computing.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    overwrite : bool
        Whether an existing file may be replaced.
    n_bytes : int
        How much the file will hold; compared with what is free in the folder.
    zarr : bool
        It will be a folder, a Zarr; no other folder is ever replaced.

    Raises
    ------
    FileNotFoundError  if the folder does not exist.
    FileExistsError  if the file exists and may not be replaced.
    IsADirectoryError  if `path` is a folder and must be a file.
    NotADirectoryError  if it is a file and must be a folder.
    PermissionError  if the folder cannot be written to.
    OSError (ENOSPC)  if the folder has not enough room.
    """
    path = Path(path)
    folder = path.parent
    check_folder(folder)
    if path.is_dir() and not zarr:
        raise IsADirectoryError(errno.EISDIR, "output must be a file, it is a folder", str(path))
    there = os.path.lexists(path)  # a link to nothing is in the way as well
    if there and not overwrite:
        raise FileExistsError(
            errno.EEXIST, "output exists; choose another name or give --overwrite", str(path)
        )
    if zarr and there:
        _check_replaceable(path)
    trial = _temporary_name(path)
    try:
        trial.open("xb").close()
    except OSError as error:
        raise PermissionError(
            errno.EACCES, f"output folder must be writable ({error.strerror})", str(folder)
        ) from error
    trial.unlink()
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"output needs {n_bytes / 1e6:.1f} MB, {free / 1e6:.1f} MB are free",
            str(folder),
        )


def check_folder(folder: Path) -> None:
    """Raise FileNotFoundError if there is no such folder."""
    if not folder.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "output folder must exist, there is none; create it first", str(folder)
        )


def _check_replaceable(path: Path) -> None:
    """A Zarr may be replaced; any other folder was not meant."""
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "output must be a Zarr, it is a file", str(path))
    if not any((path / name).is_file() for name in ("zarr.json", ".zgroup")):
        raise FileExistsError(
            errno.EEXIST, "output is a folder that is no Zarr; choose another name", str(path)
        )


@contextmanager
def complete_file(path: str | Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its name once all of it is on the disk.

    Parameters
    ----------
    path : str or Path
        The file to be written.
    overwrite : bool
        Whether an existing file is replaced; it stays as it is until the new one is complete.

    Yields
    ------
    Binary file, open for reading and writing. Whatever ends the block but its own end, an
    interrupt included, leaves neither the file nor the temporary one behind.
    """
    path = Path(path)
    temporary = _temporary_name(path)
    try:
        with full_disk_named(path, _NOTHING_LEFT, short_writes=True):
            with temporary.open("x+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _take_name(temporary, path, overwrite)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    _sync_folder(path.parent)


@contextmanager
def complete_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a name for a folder beside `path` that takes its name once it is complete.

    Parameters
    ----------
    path : str or Path
        The Zarr to be written.
    overwrite : bool
        Whether an existing one is replaced; it stays as it is until the new one is complete.

    Yields
    ------
    Path, at which there is nothing yet. Whatever ends the block but its own end leaves neither the
    folder nor the temporary one behind.
    """
    path = Path(path)
    temporary = _temporary_name(path)
    try:
        with full_disk_named(path, _NOTHING_LEFT, short_writes=True):
            yield temporary
            _replace_folder(temporary, path, overwrite)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(path.parent)


@contextmanager
def full_disk_named(
    location: str | Path, remains: str, *, short_writes: bool = False
) -> Iterator[None]:
    """Turn a full disk, and no other error, into one that names the target.

    Parameters
    ----------
    location : str or Path
        Of the target.
    remains : str
        What is left of it, in words.
    short_writes : bool
        Whether errors without a number count: so numpy reports a short write.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL and not (short_writes and error.errno is None):
            raise
        raise OSError(errno.ENOSPC, f"disk full while writing; {remains}", str(location)) from error


def _replace_folder(new: Path, path: Path, overwrite: bool) -> None:
    """Folders cannot be exchanged at once: the old one goes when the new one has its name."""
    if not (path.exists() and overwrite):
        os.rename(new, path)
        return
    old = _temporary_name(path)
    os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        os.rename(old, path)
        raise
    if old.is_symlink():  # what it points to is kept, as with a file
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)


def _temporary_name(path: Path) -> Path:
    short = os.fsencode(path.name)[:200].decode(errors="ignore")  # names are limited in bytes
    return path.with_name(f".{short}.{secrets.token_hex(4)}.partial")


def _take_name(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        # Unlike a rename, a link fails where another program has meanwhile made the file.
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(
            errno.EEXIST, "output exists; choose another name or give --overwrite", str(path)
        ) from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(
                errno.EEXIST, "output exists; choose another name or give --overwrite", str(path)
            ) from None
        os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where folders can be synchronised."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
