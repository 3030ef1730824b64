# SPDX-License-Identifier: BSD-3-Clause
"""A blur that changes over the image: overlapping tiles of the object, each with its PSF.

H x = sum_t crop(h_t * (w_t x)), with windows w_t that sum to 1 and are products of one line per
axis. Each tile is convolved on a grid just large enough that nothing wraps onto what is kept.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import fits_fused_loop
from otfuse.functional._geometry import next_fast_shape
from otfuse.ops.fft_convolve import Windows


@dataclass(frozen=True)
class _Span:
    """One axis of a tile, in voxels of the image: where its light is, where it is seen."""

    source: tuple[int, int]
    out: tuple[int, int]
    weight: Tensor | None  # along the source; None is 1
    grid: int


@dataclass(frozen=True)
class _Tile:
    spans: tuple[_Span, ...]
    source: tuple[slice, ...]  # of the estimate
    out: tuple[slice, ...]  # of the image
    shares: list[Tensor]  # the tile's window as lines along z, y and x; none is 1
    windows: Windows
    psf: Tensor  # (1, k...)

    @functools.cached_property
    def otf(self) -> Tensor | None:
        """Of the PSF; none where its values may not be looked at."""
        if not _checks.values_visible(self.psf):
            return None
        g = self.windows
        return ops.make_otf(self.psf.detach(), g.grid, g.padded, g.kernel_offset)

    def weighted(self, x: Tensor) -> Tensor:
        """x times the tile's window."""
        for axis, span in enumerate(self.spans):
            if span.weight is not None:
                x = x * span.weight.reshape(-1, *[1] * (len(self.spans) - 1 - axis))
        return x


class TiledBlur:
    """The operator for images of `shape` and psfs (nodes..., k...)."""

    def __init__(self, function: str, psfs: Tensor, shape: Sequence[int], overlap: float) -> None:
        share = _checks.finite_number(function, "overlap", overlap)
        if not 0 < share <= 1:
            raise ValueError(f"{function}: overlap must be above 0 and at most 1, got {share:g}")
        ndim = len(shape)
        nodes, extents = psfs.shape[:ndim], psfs.shape[ndim:]
        if any(g > n for g, n in zip(nodes, shape, strict=True)):
            raise ValueError(
                f"{function}: psfs must not have more nodes than the image has voxels along an "
                f"axis, got {tuple(nodes)} and {tuple(shape)}"
            )
        self._before = before = [k - 1 - k // 2 for k in extents]
        self.shape = tuple(shape)
        self.estimate_shape = tuple(n + k - 1 for n, k in zip(shape, extents, strict=True))
        self.image_window = (
            slice(None),
            *(slice(b, b + n) for b, n in zip(before, shape, strict=True)),
        )
        self._lines = lines = [
            _spans(n, k, g, share, psfs) for n, k, g in zip(shape, extents, nodes, strict=True)
        ]
        places = product(*(range(g) for g in nodes))
        self._tiles = [
            _tile([line[i] for line, i in zip(lines, place, strict=True)], before, psfs[place])
            for place in places
        ]

    def shares(self) -> list[Tensor]:
        """Of each axis the nodes' shares of the estimate's light, (nodes, extent)."""
        psf = self._tiles[0].psf
        found = []
        for spans, begin, n in zip(self._lines, self._before, self.estimate_shape, strict=True):
            lines = psf.new_zeros(len(spans), n)
            for line, span in zip(lines, spans, strict=True):
                a, b = span.source
                line[a + begin : b + begin] = 1 if span.weight is None else span.weight
            found.append(lines)
        return found

    def shared_cost(self) -> float:
        """Transforms along an axis that one iteration on the whole grid takes, where nodes share
        what they can, over those of iterations on tiles of their own."""
        inner = [len(spans) for spans in self._lines]
        spectra = [math.prod(inner[axis:]) for axis in range(len(inner))]
        whole = math.prod(next_fast_shape(self.estimate_shape))
        return whole * sum(n + 1 for n in spectra) / (2 * len(inner) * self.padded_voxels)

    @property
    def padded_voxels(self) -> int:
        """Voxels of the grids of all tiles: what a transform in both directions costs."""
        return sum(math.prod(next_fast_shape(t.windows.grid)) for t in self._tiles)

    def forward(self, estimate: Tensor) -> Tensor:
        """What the camera would see of the estimate."""
        out = estimate.new_zeros(estimate.shape[0], *self.shape)
        if self.fits(estimate):
            self.blur_into(estimate, out)
            return out
        for tile in self._tiles:
            part = tile.weighted(estimate[tile.source])
            out[tile.out] += ops.fft_convolve(part, tile.psf, tile.otf, 1, *tile.windows, False)
        return out

    def adjoint(self, image: Tensor) -> Tensor:
        """The camera's values sent back to where their light can have come from."""
        out = image.new_zeros(image.shape[0], *self.estimate_shape)
        if self.fits(image):
            self.back_into(image, out)
            return out
        for tile in self._tiles:
            back = tile.windows.back([b - a for a, b in (s.source for s in tile.spans)])
            part = ops.fft_convolve(image[tile.out], tile.psf, tile.otf, 1, *back, True)
            out[tile.source] += tile.weighted(part)
        return out

    def fits(self, *arrays: Tensor) -> bool:
        """Whether the next two methods can serve."""
        return fits_fused_loop(self._tiles[0].psf, *arrays)

    def blur_into(self, estimate: Tensor, out: Tensor) -> None:
        """`forward` in the memory of `out`; no derivative."""
        out.zero_()
        for tile in self._tiles:
            ops.fft_convolve_add(
                estimate[tile.source], tile.otf, tile.shares, *tile.windows, False, out[tile.out]
            )

    def back_into(self, image: Tensor, out: Tensor) -> None:
        """`adjoint` in the memory of `out`; no derivative."""
        out.zero_()
        for tile in self._tiles:
            part = out[tile.source]
            back = tile.windows.back(part.shape[1:])
            ops.fft_convolve_add(image[tile.out], tile.otf, tile.shares, *back, True, part)


def _spans(n: int, k: int, nodes: int, overlap: float, like: Tensor) -> list[_Span]:
    """The tiles along one axis of n voxels with a PSF of k."""
    first, last = -(k - 1 - k // 2), n + k // 2  # of the estimate
    voxel = torch.arange(first, last, dtype=torch.float64, device="cpu")
    pitch = n / nodes
    # How much of a voxel's light belongs to the nodes beyond each gap, from all to none.
    beyond = [torch.ones_like(voxel)]
    for gap in range(1, nodes):
        way = ((voxel + 0.5 - gap * pitch) / (overlap * pitch) + 0.5).clamp(0, 1)
        beyond.append(0.5 - 0.5 * torch.cos(math.pi * way))
    beyond.append(torch.zeros_like(voxel))
    spans = []
    for here, there in pairwise(beyond):
        line = here - there
        lit = torch.nonzero(line > 0).flatten()
        a, b = int(lit[0]), int(lit[-1]) + 1
        weight = None if nodes == 1 else line[a:b].to(like.dtype).to(like.device)
        a, b = a + first, b + first
        out = max(0, a - k // 2), min(n, b + k - 1 - k // 2)
        # No source reaches a kept voxel the other way round the grid, which holds the PSF.
        grid = max(out[1] - a + k // 2, b - out[0] + k - 1 - k // 2, b - a, k)
        spans.append(_Span((a, b), out, weight, grid))
    return spans


def _tile(spans: Sequence[_Span], before: Sequence[int], psf: Tensor) -> _Tile:
    places = zip(spans, before, strict=True)
    source = tuple(slice(s.source[0] + b, s.source[1] + b) for s, b in places)
    grid = [s.grid for s in spans]
    centre = [-(k // 2) for k in psf.shape]
    windows = Windows(
        grid,
        True,
        [s.source[0] - s.out[0] for s in spans],
        centre,
        [0] * len(spans),
        [s.out[1] - s.out[0] for s in spans],
    )
    every = slice(None)
    out = tuple(slice(*s.out) for s in spans)
    shares: list[Tensor] = []
    if any(s.weight is not None for s in spans):
        lines = [
            psf.new_ones(s.source[1] - s.source[0]) if s.weight is None else s.weight for s in spans
        ]
        shares = [psf.new_ones(1)] * (3 - len(spans)) + lines
    return _Tile(tuple(spans), (every, *source), (every, *out), shares, windows, psf.unsqueeze(0))
