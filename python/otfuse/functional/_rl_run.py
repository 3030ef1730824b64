# SPDX-License-Identifier: BSD-3-Clause
"""One Richardson-Lucy job: its geometry, its constants, and the calls of the op."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import to_tensor
from otfuse.functional._geometry import (
    Batch,
    Geometry,
    circular_geometry,
    edge_pad,
    extended_geometry,
    reflect_pad,
)
from otfuse.functional.plan import reflected_widths

NAME = "richardson_lucy"


@dataclass(frozen=True)
class Method:
    """How an iteration goes."""

    boundary: str
    acceleration: str | None
    back_projector: Tensor | None  # flattened like the batch's psf; none: the exact adjoint
    tv: float
    voxel: tuple[float, ...]
    background: float
    background_map: Tensor | None  # flattened like the batch's image; added to it
    mixed: bool = False  # a device may keep spectra in half precision


class Run:
    """Constants of a job, and the calls of the op.

    Parameters
    ----------
    batch : Batch
        Hidden pixels of its image are negative.
    method : Method
    masked : bool
        Whether there are hidden pixels.
    """

    def __init__(self, batch: Batch, method: Method, masked: bool) -> None:
        self.mean = observed_mean(batch.image, masked)
        self.method, self.masked = method, masked
        ndim = batch.psf.ndim - 1
        self.shape = batch.image.shape[-ndim:]  # as given, before it is padded by reflection
        self.widths: list[tuple[int, int]] = []
        if method.boundary == "reflect":
            self.widths = reflected_widths(self.shape, batch.psf.shape[-ndim:])
            batch = replace(batch, image=reflect_pad(batch.image, self.widths))
        self.batch = batch
        self.background_map = self._padded(method.background_map)
        self.geometry = _geometry(batch, method)
        self.weighted = masked or method.boundary == "extended"
        floor = (1e-6 * self.mean).detach()
        self.floor = torch.where(floor > 0, floor, 1e-6)

    def _padded(self, array: Tensor | None) -> Tensor | None:
        """An array of the image's shape, padded as the image was."""
        return array if array is None or not self.widths else reflect_pad(array, self.widths)

    def with_image(self, image: Tensor, **changes: Any) -> Run:
        """The same job on another image of the shape that was given, by a method with changes."""
        method = replace(self.method, **changes)
        return Run(replace(self.batch, image=image), method, self.masked)

    def crop(self, result: Tensor) -> Tensor:
        """The image's part of a result, with its batch's axes."""
        result = self.batch.unflatten(result)
        cut = [slice(a, a + n) for n, (a, _) in zip(self.shape, self.widths, strict=False)]
        return result[(slice(None),) * (result.ndim - len(cut)) + tuple(cut)]

    def background(self) -> Tensor | float:
        """What the model adds to the blurred estimate."""
        if self.background_map is None:
            return self.method.background
        return self.method.background + self.background_map

    def start(self, init: Any) -> Tensor:
        """The first estimate, in its window."""
        g, image = self.geometry, self.batch.image
        background, given = self.background(), self.method.background_map
        level = self.method.background + (0 if given is None else _item_means(given))
        mean = (self.mean - level).maximum(self.floor)
        around = mean.expand(image.shape[0], *g.estimate_shape)
        if isinstance(init, str):
            _checks.one_of(NAME, "init", init, ("mean", "image"))
            if init == "mean":
                return around
            inside = (image - background).maximum(self.floor)
            inside = torch.where(image >= 0, inside, mean)
            ends = zip(g.estimate_shape, g.image_shape, g.estimate_offset, strict=True)
            return edge_pad(inside, [(-o, n - k + o) for n, k, o in ends])
        inside = self._given(init)
        around = _item_means(inside).expand(image.shape[0], *g.estimate_shape)
        if g.estimate_shape == g.image_shape:
            return inside
        return _place(around, inside, g.image_window)

    def _given(self, init: Any) -> Tensor:
        """An array to start from, as one item per image."""
        image = self.batch.image
        array = to_tensor(NAME, "init", init)
        _checks.same_device(NAME, "init", array, image)
        shape = (*self.batch.shape, *self.shape)
        try:
            array = array.to(image.dtype).expand(shape)
        except RuntimeError:
            raise ValueError(
                f"{NAME}: init must broadcast against the image, got shapes "
                f"{tuple(array.shape)} and {tuple(shape)}"
            ) from None
        if _checks.values_visible(array):
            low, _ = _checks.finite_values(NAME, "init", array)
            if low < 0:
                raise ValueError(f"{NAME}: init must not be negative, lowest value {low:g}")
        padded = self._padded(array)
        assert padded is not None
        return padded.reshape(image.shape)

    def _call(
        self,
        state: Sequence[Tensor | None],
        done: int,
        count: int,
        resumable: bool,
        otf: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tensors = self._tensors(self.batch.image, state, None, otf)
        return ops.richardson_lucy(*tensors, *self._settings(done, count, resumable))

    def consensus(
        self,
        estimate: Tensor,
        halves: Sequence[Tensor],
        count: int,
        otf: Tensor,
        fewest: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`count` iterations on two halves of the image's photons, and how many voxels agreed.

        With `fewest` the estimate is where the image is, and iterations end after one in which
        fewer voxels agreed.
        """
        one, two = halves
        resumable = fewest is None
        judged = self.batch.image if resumable else None
        tensors = self._tensors(one, (estimate, None, None), judged, otf)
        settings = self._settings(0, count, resumable)
        return ops.rl_consensus(*tensors, two, fewest or 0.0, *settings)

    def _tensors(
        self,
        image: Tensor,
        state: Sequence[Tensor | None],
        judged: Tensor | None,
        otf: Tensor | None = None,
    ) -> tuple[Tensor | None, ...]:
        """The tensors of the op, in its order."""
        psfs = (self.batch.psf, otf, self.method.back_projector)
        return (image, *psfs, *state, self.floor.flatten(), self.background_map, judged)

    def _settings(self, done: int, count: int, resumable: bool) -> tuple[Any, ...]:
        """The other arguments of the op, in its order."""
        g, method = self.geometry, self.method
        windows = (self.batch.inner, g.grid, g.padded, g.psf_offset, g.estimate_offset)
        steps = (method.background, 0.0, count, done, method.acceleration or "none")
        return (
            *windows,
            *steps,
            method.tv,
            method.voxel,
            self.weighted,
            resumable,
            method.mixed,
        )

    def whole(self, start: Tensor, n_iters: int) -> Tensor:
        """All iterations in one call."""
        return self._call((start, None, None), 0, n_iters, False)[0]

    def in_chunks(
        self,
        start: Tensor,
        n_iters: int,
        every: int,
        ended: Callable[[int, Tensor, Tensor], bool],
    ) -> Tensor:
        """`every` iterations at a time, until all are done or `ended` says so."""
        estimate = start
        for seen in self.through(start, [*range(every, n_iters, every), n_iters]):
            estimate = seen[2]
            if ended(*seen):
                break
        return estimate

    def through(
        self, start: Tensor, numbers: Iterable[int]
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Rising numbers of iterations, the I-divergences up to then, and the image's estimate."""
        g = self.geometry
        otf = ops.make_otf(self.batch.psf.detach(), g.grid, g.padded, g.psf_offset)
        state: list[Tensor | None] = [start, None, None]
        divergence = start.new_empty((start.shape[0], 0), dtype=torch.float64)
        done = 0
        for number in numbers:
            estimate, previous, change, fell = self._call(state, done, number - done, True, otf)
            state = [estimate, *(a if a.numel() else None for a in (previous, change))]
            divergence = torch.cat((divergence, fell), 1)
            done = number
            yield done, divergence, estimate[g.image_window]


def _geometry(batch: Batch, method: Method) -> Geometry:
    ndim = batch.psf.ndim - 1
    shape, psf_shape = batch.image.shape[-ndim:], batch.psf.shape[-ndim:]
    if method.boundary != "extended":
        _checks.fits(NAME, psf_shape, shape)
        return circular_geometry(shape, psf_shape)
    geometry = extended_geometry(shape, psf_shape)
    if method.tv > 0:  # a voxel of zeros keeps the ends of the estimate apart
        geometry = replace(geometry, grid=tuple(n + 1 for n in geometry.grid))
    return geometry


def observed_mean(image: Tensor, masked: bool) -> Tensor:
    """The mean of each item over the pixels that were observed; spatial axes are kept."""
    if not masked:
        return _item_means(image)
    axes = tuple(range(1, image.ndim))
    observed = image >= 0
    light = torch.where(observed, image, 0)
    return light.sum(axes, keepdim=True) / observed.sum(axes, keepdim=True).clamp(min=1)


def _item_means(array: Tensor) -> Tensor:
    return array.mean(tuple(range(1, array.ndim)), keepdim=True)


def _place(around: Tensor, inside: Tensor, window: tuple[slice, ...]) -> Tensor:
    """`inside` in the middle of `around`, as a differentiable copy."""
    out = around.clone()
    out[window] = inside
    return out
