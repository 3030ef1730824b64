# SPDX-License-Identifier: BSD-3-Clause
"""Memory of files that are read where they lie."""

from __future__ import annotations

import mmap

from otfuse.io.stack import Pixels


def release_pages(array: Pixels) -> None:
    """Give back what a mapped file takes of memory; it is read again where it is touched.

    Parameters
    ----------
    array : Pixels
        Any part of a `numpy.memmap` opened for reading; other arrays are left alone.
    """
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
