# SPDX-License-Identifier: BSD-3-Clause
"""One look at each voxel of a volume before a job: what all tiles have to agree on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from otfuse._background import smoothed_minimum, smoothing_reach
from otfuse.io import ChunkError, Saturation, Volume
from otfuse.io.camera import plateau

_CELL = 128  # voxels along each edge of what is looked at at once, at least
Span = tuple[int, int]


@dataclass
class Survey:
    """What was seen of one channel, chunks that cannot be read left out.

    Attributes
    ----------
    lowest : float
    n_negative, n_bad, size : int
        Voxels below 0, not finite, and seen at all.
    smooth, noise : float
        Minimum of the smoothed volume, and standard deviation of the noise there, where that was
        asked for.
    brightest : (t, z, y, x)
        The middle of the cell with the most light.
    saturation : Saturation or None
        Where that was asked for.
    total : float
        Of what is above 0.
    level, count
        The highest value, and how many voxels have it.
    """

    lowest: float = np.inf
    n_negative: int = 0
    n_bad: int = 0
    size: int = 0
    smooth: float = np.inf
    noise: float = 0.0
    brightest: tuple[int, ...] = (0, 0, 0, 0)
    saturation: Saturation | None = None
    total: float = 0.0
    level: float = -np.inf
    count: int = 0
    _most: float = field(default=-1.0, repr=False)

    @property
    def dark(self) -> float:
        """What an offset can be at the most, as in `dark_levels`."""
        return max(self.smooth - 2 * self.noise, 0.0)

    def mean(self) -> float:
        """Mean over the voxels that count: not those that are cut off."""
        if self.saturation is None:
            return self.total / max(self.size, 1)
        kept = self.size - self.count
        return (self.total - self.count * self.level) / max(kept, 1)

    def look(self, place: tuple[int, ...], counts: np.ndarray) -> None:
        """Take in one cell, whose middle lies at `place`."""
        if counts.dtype.kind == "f":
            self.n_bad += int(np.count_nonzero(~np.isfinite(counts)))
        self.size += counts.size
        low, high = float(counts.min()), float(counts.max())
        self.lowest = min(self.lowest, low)
        light = float(np.sum(counts, dtype=np.float64))
        if low < 0:
            self.n_negative += int(np.count_nonzero(counts < 0))
            light = float(np.sum(counts, dtype=np.float64, where=counts > 0))
        self.total += light
        if high > self.level:
            self.level, self.count = high, 0
        if high == self.level:
            self.count += int(np.count_nonzero(counts == high))
        if light / counts.size > self._most:
            self._most, self.brightest = light / counts.size, place


def survey(volume: Volume, channel: int, *, smooth: bool, saturated: bool) -> Survey:
    """Look through one channel.

    Parameters
    ----------
    volume : Volume
    channel : int
    smooth : bool
        Whether to find the minimum of the smoothed volume, the automatic background.
    saturated : bool
        Whether to find a level at which voxels are cut off.
    """
    seen = Survey()
    for t, cell, counts in _cells(volume, channel):
        middle = (t, *((a + b) // 2 for a, b in cell))
        seen.look(middle, counts)
        if smooth:
            inside = _inside(cell, volume.shape[2:])
            clipped = np.maximum(counts, 0) if seen.n_negative else counts
            seen.smooth, seen.noise = min(
                (seen.smooth, seen.noise), smoothed_minimum(clipped, inside)
            )

    def count_above(floor: float) -> int:
        cells = (counts for _, _, counts in _cells(volume, channel))
        return sum(int(np.count_nonzero(counts >= floor)) for counts in cells)

    if saturated and seen.size:
        seen.saturation = plateau(seen.level, seen.count, seen.size, count_above)
    return seen


def _cells(volume: Volume, channel: int) -> Iterator[tuple[int, tuple[Span, ...], np.ndarray]]:
    """Whole chunks that can be read, several at a time."""
    edges = [-(-_CELL // c) * c for c in volume.chunks[2:]]
    lines = [
        [(a, min(a + e, n)) for a in range(0, n, e)]
        for n, e in zip(volume.shape[2:], edges, strict=True)
    ]
    for t, cell in product(range(volume.shape[0]), product(*lines)):
        try:
            counts = volume.read((t, channel, *(slice(*span) for span in cell)))
        except ChunkError:  # its tiles will fail, and say so
            continue
        yield t, cell, counts


def _inside(cell: tuple[Span, ...], shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """Where the smoothing of a cell sees nothing of its cut edges; all of a thin one."""
    found = []
    for (a, b), n in zip(cell, shape, strict=True):
        first = smoothing_reach() if a > 0 else 0
        last = b - a - (smoothing_reach() if b < n else 0)
        found.append(slice(first, last) if first < last else slice(0, b - a))
    z, y, x = found
    return z, y, x


class Planes:
    """One image of a volume, plane by plane, without the chunks that cannot be read.

    A layer of whole chunks is read and kept at a time.

    Parameters
    ----------
    volume : Volume
    t, c : int
        Time point and channel.
    """

    def __init__(self, volume: Volume, t: int, c: int) -> None:
        self.shape, self.dtype = volume.shape[2:], volume.dtype
        self._volume, self._index = volume, (t, c)
        self._first, self._layer = 0, np.empty((0, *self.shape[1:]), self.dtype)
        self._seen: Any = ...

    def __getitem__(self, index: tuple[int]) -> np.ndarray:
        (z,), depth = index, self._volume.chunks[2]
        if not self._first <= z < self._first + len(self._layer):
            self._first = z // depth * depth
            planes = slice(self._first, min(self._first + depth, self.shape[0]))
            try:
                self._layer, self._seen = self._volume.read((*self._index, planes)), ...
            except ChunkError:
                self._read_by_chunks(planes)
        return self._layer[z - self._first][self._seen]

    def _read_by_chunks(self, planes: slice) -> None:
        """What of a layer can be read; the tiles of the rest will fail, and say so."""
        ny, nx = self.shape[1:]
        self._layer = np.zeros((planes.stop - planes.start, ny, nx), self.dtype)
        self._seen = np.zeros((ny, nx), bool)
        cy, cx = self._volume.chunks[3:]
        for y, x in product(range(0, ny, cy), range(0, nx, cx)):
            cell = slice(y, min(y + cy, ny)), slice(x, min(x + cx, nx))
            try:
                self._layer[(slice(None), *cell)] = self._volume.read((*self._index, planes, *cell))
            except ChunkError:
                continue
            self._seen[cell] = True
