# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy deconvolution of several views of one object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import back_to_kind, fits_fused_loop
from otfuse.functional._blur import Blur
from otfuse.functional._iterate import (
    FLOOR,
    LEAST_SEEN,
    correction_of,
    first_estimate,
    in_units,
    light_of,
    scale_of,
    weight_of,
    with_momentum,
)
from otfuse.functional._views import Camera, Job, View, backgrounds, prepare

_NAME = "multiview_richardson_lucy"
UPDATES = ("additive", "multiplicative", "sequential")


def multiview_richardson_lucy(
    views: Sequence[Any],
    psfs: Sequence[Any],
    n_iters: int = 20,
    *,
    update: str = "additive",
    background: Any = 0.0,
    boundary: str = "extended",
    acceleration: str | None = None,
    masks: Sequence[Any] | None = None,
    init: Any = "mean",
    ndim: int | None = None,
) -> Any:
    """The one object that, blurred by each view's PSF, most likely gave all the views.

    With c_v = H_v^T(y_v / (H_v p + b_v)) and what view v sees of a voxel s_v = H_v^T 1,

        additive        x <- p (sum_v c_v) / (sum_v s_v)
        multiplicative  x <- p (prod_v c_v / s_v)^(1 / views)
        sequential      x <- x c_v / s_v for one view after the other

    (each factor at least 1e-6 in the multiplicative one) and p = x, or with acceleration "shb"
    p = x + (k-1)/(k+2) (x - x_before), at least x / 2, in iteration k. The additive update never
    lowers the joint Poisson likelihood; the multiplicative one takes the views as independent
    evidence (Bayes) and prefers what all agree on; the sequential one, common for dual-view light
    sheets, goes about as far in one iteration as the additive one in as many as there are views.

    Parameters
    ----------
    views : sequence of arrays, each of shape (..., nz, ny, nx)
        Counts of one object, registered and resampled to one grid, background included.
    psfs : sequence of arrays, each of shape (..., kz, ky, kx)
        One per view, turned as the view is; extents may differ. Centre at k // 2; normalised to
        sum 1. Leading axes broadcast against the views'.
    n_iters : int
        At least 1; an iteration uses every view.
    update : {"additive", "multiplicative", "sequential"}
    background : float or array, or a list of them
        Light that does not come from the object, in the views' unit: one for all or one per view.
    boundary : {"extended", "circular", "reflect"}
        As in `richardson_lucy`.
    acceleration : {None, "shb"}
    masks : sequence of arrays or None, optional
        One per view; zero where it has no data (outside after registration) or is saturated.
        A voxel is restored from the views that see it.
    init : {"mean", "image"} or array
        Where to start: the mean of all views, the first view, or an array of their shape.
    ndim : int, optional
        Number of spatial axes (1 to 3), by default that of the first psf.

    Returns
    -------
    array, shape of a view (broadcast against leading axes of psfs)
        The kind of the first view. Differentiable in views, psfs, init and arrays of background,
        with memory that grows as `n_iters` times the number of views.

    Raises
    ------
    ValueError
        If there is no view, numbers of views, psfs, masks or backgrounds or shapes of views
        differ, a view is negative or not finite, a psf is negative, zero or not finite, devices
        differ, or an option is unknown.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Verveer et al., Nat. Methods 4, 311 (2007) (additive); Temerinac-Ott et al., IEEE Trans. Image
    Process. 21, 1863 (2012) and Preibisch et al., Nat. Methods 11, 645 (2014) (multiplicative,
    Bayesian); Wu et al., Nat. Biotechnol. 31, 1032 (2013) (sequential).
    """
    _checks.at_least(_NAME, "n_iters", n_iters, 1)
    _checks.one_of(_NAME, "update", update, UPDATES)
    _checks.one_of(_NAME, "acceleration", acceleration, (None, "shb"))
    job = prepare(_NAME, _views(views, psfs, masks, background), boundary, ndim, counts=True)
    scale = scale_of(job)
    start = first_estimate(_NAME, job, init, FLOOR * scale)
    arrays = [a for c in job.cameras for a in (c.image, c.background, cast(Blur, c.blur).psf)]
    iterate = _fused if fits_fused_loop(start, *arrays) else _composed
    out = iterate(job, start, scale, n_iters, update, acceleration is not None)
    return back_to_kind(views[0])(job.finish(out))


def _fused(
    job: Job, start: Tensor, scale: Tensor, n_iters: int, update: str, accelerated: bool
) -> Tensor:
    """The iterations in the core, where views share the estimate's spectrum."""
    blurs = [cast(Blur, camera.blur) for camera in job.cameras]
    if len({(blur.inner, blur.psf.shape) for blur in blurs}) > 1:
        blurs = [blur.of_each(start.shape[0]) for blur in blurs]
    level, arrays = backgrounds(job.cameras)
    weighted = blurs[0].geometry.padded or any(c.seen is not None for c in job.cameras)
    images = torch.cat([camera.counts for camera in job.cameras])
    kernels = torch.cat([blur.psf for blur in blurs])
    state = (start, None, None, (FLOOR * scale).flatten(), arrays, None)
    settings = blurs[0].loop_settings(n_iters, level, accelerated, weighted)
    return ops.rl_views(images, kernels, None, None, *state, update, *settings)


def _composed(
    job: Job, start: Tensor, scale: Tensor, n_iters: int, update: str, accelerated: bool
) -> Tensor:
    """The iterations as a sequence of convolutions: differentiable, on every device."""
    cameras = in_units(job, scale)
    lights = torch.stack([light_of(camera) for camera in cameras])
    alive = (lights.amax(0) > LEAST_SEEN).to(lights.dtype)
    kinds = {"additive": _additive, "multiplicative": _multiplicative, "sequential": _sequential}
    step = kinds[update](cameras, lights)
    out = with_momentum(step, start / scale * alive, n_iters, accelerated, FLOOR * alive)
    return out * scale


def _views(
    views: Sequence[Any], psfs: Sequence[Any], masks: Sequence[Any] | None, background: Any
) -> list[View]:
    """One View per view, or an error that says what there is too few or too many of."""
    count = len(views)
    if count == 0:
        raise ValueError(f"{_NAME}: views must hold at least one view, got none")
    each = background if isinstance(background, list | tuple) else [background] * count
    for name, given in (("psfs", psfs), ("masks", masks), ("background", each)):
        if given is not None and len(given) != count:
            raise ValueError(
                f"{_NAME}: {name} must be as many as the views ({count}), got {len(given)}"
            )
    hidden = [None] * count if masks is None else masks
    return [View(*parts, i) for i, parts in enumerate(zip(views, psfs, hidden, each, strict=True))]


Step = Callable[[Tensor], Tensor]


def _additive(cameras: Sequence[Camera], lights: Tensor) -> Step:
    weight = weight_of(lights.sum(0), lights.amax(0) > LEAST_SEEN)

    def step(p: Tensor) -> Tensor:
        total = correction_of(cameras[0], p)
        for camera in cameras[1:]:
            total = total + correction_of(camera, p)
        return ops.rl_update(p, total, weight)

    return step


def _factors(cameras: Sequence[Camera], lights: Tensor) -> list[Step]:
    """What each view wants an estimate multiplied with: 1 where the view sees nothing."""

    def of(camera: Camera, light: Tensor) -> Step:
        seen = light > LEAST_SEEN
        weight, blind = weight_of(light, seen), (~seen).to(light.dtype)
        return lambda p: torch.addcmul(blind, correction_of(camera, p), weight)

    return [of(camera, light) for camera, light in zip(cameras, lights, strict=True)]


def _multiplicative(cameras: Sequence[Camera], lights: Tensor) -> Step:
    factors = _factors(cameras, lights)
    power = 1 / (lights > LEAST_SEEN).sum(0).clamp(min=1).to(lights.dtype)

    def step(p: Tensor) -> Tensor:
        # A root has no slope at 0 and makes much of rounding near it, hence the floor.
        product = factors[0](p).clamp(min=FLOOR)
        for factor in factors[1:]:
            product = product * factor(p).clamp(min=FLOOR)
        return p * product**power

    return step


def _sequential(cameras: Sequence[Camera], lights: Tensor) -> Step:
    factors = _factors(cameras, lights)

    def step(p: Tensor) -> Tensor:
        for factor in factors:
            p = p * factor(p)
        return p

    return step
