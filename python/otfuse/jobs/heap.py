# SPDX-License-Identifier: BSD-3-Clause
"""What the memory that chunks are unpacked into costs: bounded, and used again."""

from __future__ import annotations

import ctypes
import os

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # of glibc's mallopt
_LARGE = 32 << 20  # what is larger is mapped, and unmapped when it is freed
CHUNKS_AT_ONCE = 4  # that are read and unpacked at the same time


def share_heap(tile_bytes: int = 2 * _LARGE) -> None:
    """Have all threads of this process take the buffers of chunks from one heap.

    With a heap of its own each thread keeps what it has freed, a quarter of a gigabyte in all
    after some tiles; given back to the system at once, every chunk pays for fresh pages, which
    takes twice as long as reading and writing it. Where the C library is another than glibc only
    the number of chunks at a time is set. Call it before the first chunk is read, and again when
    tiles are known: their arrays would leave holes in the heap.

    Parameters
    ----------
    tile_bytes : int
        Of an array of a tile's extents; what has half of them or more is mapped.
    """
    import zarr

    zarr.config.set({"async.concurrency": CHUNKS_AT_ONCE})
    _call("mallopt", (_ARENA_MAX, 1))
    map_arrays(tile_bytes)


def map_arrays(tile_bytes: int) -> None:
    """Have arrays from half of `tile_bytes` on mapped, and unmapped when they are freed.

    From a heap the peak of a network's features is up to half as high again, and another each time.
    """
    large = min(_LARGE, tile_bytes // 2)
    _call("mallopt", (_MMAP_THRESHOLD, large), (_TRIM_THRESHOLD, large))


def give_back() -> None:
    """Return to the system what the heap holds and nobody uses, before memory is planned with."""
    _call("malloc_trim", (0,))


def _call(name: str, *arguments: tuple[int, ...]) -> None:
    """Call a function of the C library, where it has one of that name."""
    function = getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
    if function is not None:
        for given in arguments:
            function(*given)
