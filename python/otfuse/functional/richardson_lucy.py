# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy deconvolution: checks, defaults, boundaries; the loop itself is one op."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype
from otfuse.functional._geometry import (
    BOUNDARIES,
    Batch,
    Geometry,
    circular_geometry,
    extended_geometry,
    match_batch,
    reflect_pad,
)
from otfuse.functional.otf import spatial_ndim
from otfuse.functional.plan import reflected_widths

_NAME = "richardson_lucy"
_FLAT = 1e-4  # relative fall of the I-divergence per iteration below which "idiv" stops


@dataclass(frozen=True)
class Progress:
    """What a callback sees: so many iterations done of `n_iters`."""

    i_divergence: Any  # (batch..., iterations done)
    estimate: Any  # cropped to the image, of its kind
    n_iters: int


def richardson_lucy(
    image: Any,
    psf: Any,
    n_iters: int = 30,
    *,
    background: float = 0.0,
    boundary: str = "extended",
    acceleration: str | None = None,
    back_projector: None = None,
    mask: Any = None,
    init: Any = "mean",
    stop: str | None = None,
    callback: Callable[[int, Progress], Any] | None = None,
    callback_every: int = 5,
    ndim: int | None = None,
) -> Any:
    """The object that, blurred by the PSF, most likely gave the image (Poisson noise).

    x <- p H^T(y / (H p + b)) / H^T 1, where p is x, or with acceleration "shb"
    p = x + (k-1)/(k+2) (x - x_before) in iteration k.

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx)
        Observed counts, not negative, background included. Integers are computed in float32.
    psf : array, shape (..., kz, ky, kx)
        Not negative; centre at k // 2, voxel size that of the image; it is normalised to sum 1.
        Leading axes broadcast against the image's (one PSF per channel).
    n_iters : int
        At least 1.
    background : float
        Light that does not come from the object, in the image's unit; it stays in the model.
    boundary : {"extended", "circular", "reflect"}
        "extended" estimates n + k - 1 voxels, as far as light can come from, and returns those
        of the image; "circular" takes the image as periodic; "reflect" pads it by reflection.
    acceleration : {None, "shb"}
        "shb" reaches in a third of the iterations what plain iterations reach.
    back_projector : None
        The exact adjoint of the blur.
    mask : array, optional
        Broadcasts against `image`; zero where a pixel is saturated or dead.
    init : {"mean", "image"} or array
        Where to start: the mean of each item, the image, or an array of the image's shape.
    stop : {None, "idiv"}
        "idiv" ends the run when the I-divergence falls by less than 1e-4 of itself an iteration.
    callback : callable, optional
        callback(i, progress) after every `callback_every` iterations and the last; a true answer
        ends the run. `progress` has `i_divergence`, `estimate` and `n_iters`.
    callback_every : int
        Iterations between two looks at the run, for `callback` and `stop`; a look costs about
        as much as one iteration.
    ndim : int, optional
        Number of spatial axes (1 to 3), by default that of `psf`.

    Returns
    -------
    array, shape of `image` (broadcast against leading axes of `psf`)
        The kind of `image`. Differentiable in image, psf and init, with memory that grows as
        the square root of `n_iters`.

    Raises
    ------
    ValueError
        If the image is negative or not finite, the psf is negative, zero or not finite, shapes
        do not fit, devices differ, or an option is unknown.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Richardson 1972; Lucy 1974; Bertero & Boccacci 2005 (edges); Wang & Miller 2014 ("shb").
    """
    _checks.at_least(_NAME, "callback_every", callback_every, 1)
    _check_options(n_iters, boundary, acceleration, back_projector, stop)
    background = _checks.finite_number(_NAME, "background", background)
    y, h, ndim = _check_arrays(image, psf, mask, ndim)
    shape = y.shape[-ndim:]
    batch = match_batch(_NAME, y, h, ndim)
    mean = _observed_mean(batch.image, mask is not None)
    cut: tuple[slice, ...] = ()
    if boundary == "reflect":
        widths = reflected_widths(shape, h.shape[-ndim:])
        batch = replace(batch, image=reflect_pad(batch.image, widths))
        cut = tuple(slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True))
    run = _Run(batch, boundary, acceleration, mask is not None, background, mean)
    start = run.start(init, shape, cut)
    to_kind = back_to_kind(image)

    def crop(result: Tensor) -> Tensor:
        result = batch.unflatten(result)
        return result[(slice(None),) * (result.ndim - len(cut)) + cut] if cut else result

    if callback is None and stop is None:
        return to_kind(crop(run.whole(start, n_iters)))

    def ended(done: int, divergence: Tensor, estimate: Tensor) -> bool:
        flat = stop == "idiv" and _flattened(divergence, callback_every)
        if callback is None:
            return flat
        seen = Progress(to_kind(batch.unflatten(divergence)), to_kind(crop(estimate)), n_iters)
        return bool(callback(done, seen)) or flat

    return to_kind(crop(run.in_chunks(start, n_iters, callback_every, ended)))


def _check_options(
    n_iters: int,
    boundary: str,
    acceleration: str | None,
    back_projector: None,
    stop: str | None,
) -> None:
    _checks.at_least(_NAME, "n_iters", n_iters, 1)
    _checks.one_of(_NAME, "boundary", boundary, BOUNDARIES)
    _checks.one_of(_NAME, "acceleration", acceleration, (None, "shb"))
    _checks.one_of(_NAME, "stop", stop, (None, "idiv"))
    if back_projector is not None:
        raise ValueError(
            f"{_NAME}: back_projector must be None (the exact adjoint), got {back_projector!r}"
        )


def _check_arrays(image: Any, psf: Any, mask: Any, ndim: int | None) -> tuple[Tensor, Tensor, int]:
    """Image and PSF in the working type; masked pixels are hidden, the PSF has sum 1."""
    y, h = to_tensor(_NAME, "image", image), to_tensor(_NAME, "psf", psf)
    ndim = spatial_ndim(_NAME, h, ndim)
    _checks.same_device(_NAME, "psf", h, y)
    _checks.spatial_axes(_NAME, "image", y, ndim)
    y = y.to(working_dtype(y))
    h = h.to(y.dtype)
    observed = _observed(y, mask)
    if _checks.values_visible(y):
        seen = y if observed is None else torch.where(observed, y, 0)
        _checks.nonnegative_image(_NAME, seen)
    if observed is not None:
        y = torch.where(observed, y, -1)  # the core's way to leave a pixel out
    if _checks.values_visible(h):
        _checks.light_psf(_NAME, h, ndim)
    return y, h / h.sum(tuple(range(-ndim, 0)), keepdim=True), ndim


def _observed(image: Tensor, mask: Any) -> Tensor | None:
    """Where the image counts; None is everywhere."""
    if mask is None:
        return None
    observed = to_tensor(_NAME, "mask", mask) != 0
    _checks.same_device(_NAME, "mask", observed, image)
    try:
        observed = observed.expand(image.shape)
    except RuntimeError:
        raise ValueError(
            f"{_NAME}: mask must broadcast against the image, got shapes "
            f"{tuple(observed.shape)} and {tuple(image.shape)}"
        ) from None
    if _checks.values_visible(observed) and not bool(observed.any()):
        raise ValueError(f"{_NAME}: mask must leave some pixels, got one that hides them all")
    return observed


def _observed_mean(image: Tensor, masked: bool) -> Tensor:
    """The mean of each item over the pixels that were observed; spatial axes are kept."""
    axes = tuple(range(1, image.ndim))
    if not masked:
        return image.mean(axes, keepdim=True)
    observed = image >= 0
    light = torch.where(observed, image, 0)
    return light.sum(axes, keepdim=True) / observed.sum(axes, keepdim=True).clamp(min=1)


def _flattened(divergence: Tensor, span: int) -> bool:
    """Every item's I-divergence fell by less than the limit an iteration, over the last `span`."""
    if divergence.shape[-1] <= span:
        return False
    before, now = divergence[..., -1 - span], divergence[..., -1]
    return bool((before - now <= _FLAT * span * before.abs()).all())


class _Run:
    """One job: its geometry, its constants, and the calls of the op."""

    def __init__(
        self,
        batch: Batch,
        boundary: str,
        acceleration: str | None,
        masked: bool,
        background: float,
        mean: Tensor,
    ) -> None:
        self.batch, self.background = batch, background
        ndim = batch.psf.ndim - 1
        shape, psf_shape = batch.image.shape[-ndim:], batch.psf.shape[-ndim:]
        self.geometry: Geometry
        if boundary == "extended":
            self.geometry = extended_geometry(shape, psf_shape)
        else:
            _checks.fits(_NAME, psf_shape, shape)
            self.geometry = circular_geometry(shape, psf_shape)
        self.momentum = acceleration == "shb"
        self.weighted = masked or boundary == "extended"
        self.mean = mean
        floor = (1e-6 * mean).detach()
        self.floor = torch.where(floor > 0, floor, 1e-6)

    def start(self, init: Any, shape: tuple[int, ...], cut: tuple[slice, ...]) -> Tensor:
        """The first estimate, in its window."""
        g, image = self.geometry, self.batch.image
        mean = (self.mean - self.background).maximum(self.floor)
        around = mean.expand(image.shape[0], *g.estimate_shape)
        if isinstance(init, str):
            _checks.one_of(_NAME, "init", init, ("mean", "image"))
            if init == "mean":
                return around
            light = torch.where(image >= 0, image, mean + self.background)
            inside = (light - self.background).maximum(self.floor)
        else:
            inside = self._given(init, shape, cut)
            mean = inside.mean(tuple(range(1, inside.ndim)), keepdim=True)
            around = mean.expand(image.shape[0], *g.estimate_shape)
        if g.estimate_shape == g.image_shape:
            return inside
        return _place(around, inside, g.image_window)

    def _given(self, init: Any, shape: tuple[int, ...], cut: tuple[slice, ...]) -> Tensor:
        """An array to start from, as one item per image."""
        image = self.batch.image
        array = to_tensor(_NAME, "init", init)
        _checks.same_device(_NAME, "init", array, image)
        try:
            array = array.to(image.dtype).expand(*self.batch.shape, *shape)
        except RuntimeError:
            raise ValueError(
                f"{_NAME}: init must broadcast against the image, got shapes "
                f"{tuple(array.shape)} and {(*self.batch.shape, *shape)}"
            ) from None
        if _checks.values_visible(array):
            low, _ = _checks.finite_values(_NAME, "init", array)
            if low < 0:
                raise ValueError(f"{_NAME}: init must not be negative, lowest value {low:g}")
        if cut:
            widths = [(c.start, n - c.stop) for c, n in zip(cut, self.geometry.grid, strict=True)]
            array = reflect_pad(array, widths)
        return array.reshape(image.shape)

    def _call(
        self, start: Tensor, previous: Tensor | None, done: int, count: int, resumable: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        g, batch = self.geometry, self.batch
        tensors = (batch.image, batch.psf, None, start, previous, self.floor.flatten())
        windows = (batch.inner, g.grid, g.padded, g.psf_offset, g.estimate_offset)
        settings = (self.background, count, done, self.momentum, self.weighted, resumable)
        return ops.richardson_lucy(*tensors, *windows, *settings)

    def whole(self, start: Tensor, n_iters: int) -> Tensor:
        """All iterations in one call."""
        return self._call(start, None, 0, n_iters, False)[0]

    def in_chunks(
        self,
        start: Tensor,
        n_iters: int,
        every: int,
        ended: Callable[[int, Tensor, Tensor], bool],
    ) -> Tensor:
        """`every` iterations at a time, until all are done or `ended` says so."""
        window = self.geometry.image_window
        estimate, previous = start, None
        divergence = start.new_empty((start.shape[0], 0), dtype=torch.float64)
        for done in range(0, n_iters, every):
            count = min(every, n_iters - done)
            estimate, before, fell = self._call(estimate, previous, done, count, True)
            previous = before if self.momentum else None
            divergence = torch.cat((divergence, fell), 1)
            if ended(done + count, divergence, estimate[window]):
                break
        return estimate[window]


def _place(around: Tensor, inside: Tensor, window: tuple[slice, ...]) -> Tensor:
    """`inside` in the middle of `around`, as a differentiable copy."""
    out = around.clone()
    out[window] = inside
    return out
