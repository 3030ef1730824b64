# SPDX-License-Identifier: BSD-3-Clause
"""The Richardson-Lucy Network on volumes of which some rows at a time are in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional.rln import rln_bytes

_NAME = "RlnRows"
# Rows of a strip, at least: each reads up to 16 that the one before has read, too.
_LEAST_ROWS = 48


class RowStrip(NamedTuple):
    """One step down a volume.

    Attributes
    ----------
    reads : slice
        Rows of the image that it takes.
    makes : slice
        Rows that it restores.
    parts : range
        Strips of the compiled core, whose height its cache decides.
    """

    reads: slice
    makes: slice
    parts: range


class RlnRows:
    """Restores one volume strip by strip of rows, from the first row to the last, on the CPU.

    What later rows need of earlier ones is kept, so nothing is computed twice and nothing has to be
    blended: the rows are those of `rln` on the whole volume, bit for bit.

    Parameters
    ----------
    extents : (nz, ny, nx)
        Of the volume, each at least 2.
    weights : Tensor, shape (n,), float32
        From `pack_rln_weights`.
    views : {1, 2}
    denominator : float
        Added to both divisors.

    Attributes
    ----------
    strips : tuple of RowStrip
        In the order in which `restore` takes them.
    bytes : int
        Of memory that is held besides arguments and results.

    Raises
    ------
    ValueError
        If an extent is below 2 or there are more than two views.
    TypeError
        If the weights are not float32 on the CPU.
    """

    def __init__(
        self,
        extents: Sequence[int],
        weights: Tensor,
        *,
        views: int = 1,
        denominator: float = 1e-4,
    ) -> None:
        nz, ny, nx = (int(n) for n in extents)
        if min(nz, ny, nx) < 2:
            raise ValueError(f"{_NAME}: extents must be at least 2 each, got {(nz, ny, nx)}")
        _checks.one_of(_NAME, "views", views, (1, 2))
        if weights.dtype != torch.float32 or weights.device.type != "cpu":
            raise TypeError(
                f"{_NAME}: weights must be float32 on the CPU, got {weights.dtype} on "
                f"{weights.device}; use rln on tiles there"
            )
        self._extents, self._views = (nz, ny, nx), views
        self._weights, self._denominator = weights.contiguous(), denominator
        self.bytes = rln_bytes(self._extents, views)
        self.strips = row_strips(self._extents, views)
        self._walk = ops.RlnWalk(self._extents, views, self.bytes)
        self._next = 0

    def restore(self, image: Tensor) -> Tensor:
        """Restore the next strip.

        Parameters
        ----------
        image : Tensor, shape (views, nz, rows, nx), float32
            The rows that the strip reads, normalised to about 0 to 1.

        Returns
        -------
        Tensor, shape (nz, rows, nx)
            The rows that it makes.

        Raises
        ------
        ValueError
            If there are other rows than the strip reads, or all strips are done.
        TypeError
            If the image is not float32 on the CPU.
        """
        if self._next == len(self.strips):
            raise ValueError(
                f"{_NAME}: strips must be restored once each, got one more than "
                f"{len(self.strips)}; begin a new one for another volume"
            )
        nz, _, nx = self._extents
        reads, makes, parts = self.strips[self._next]
        expected = (self._views, nz, reads.stop - reads.start, nx)
        if tuple(image.shape) != expected:
            raise ValueError(
                f"{_NAME}: image must hold the rows {reads.start} to {reads.stop} of the views, "
                f"shape {expected}, got {tuple(image.shape)}"
            )
        if image.dtype != torch.float32 or image.device.type != "cpu":
            raise TypeError(
                f"{_NAME}: image must be float32 on the CPU, got {image.dtype} on {image.device}"
            )
        rows = makes.stop - makes.start
        out = self._walk.step(parts, image, self._weights, self._denominator, rows)
        self._next += 1
        return out


def row_strips(
    extents: Sequence[int], views: int = 1, threads: int | None = None
) -> tuple[RowStrip, ...]:
    """The strips in which `RlnRows` restores a volume of these extents.

    Parameters
    ----------
    extents : (nz, ny, nx)
    views : {1, 2}
    threads : int, optional
        By default `torch.get_num_threads()`.
    """
    nz, ny, nx = extents
    parts = ops.rln_strips((nz, ny, nx), views, threads)
    strips, begin = [], 0
    for end in range(1, len(parts) + 1):
        (first, _, start, _), (_, last, _, stop) = parts[begin], parts[end - 1]
        if stop - start >= _LEAST_ROWS or end == len(parts):
            strips.append(RowStrip(slice(first, last), slice(start, stop), range(begin, end)))
            begin = end
    return tuple(strips)
