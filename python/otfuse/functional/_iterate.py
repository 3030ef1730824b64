# SPDX-License-Identifier: BSD-3-Clause
"""Where loops outside the core start, how momentum carries them on, and how light is weighed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import to_tensor
from otfuse.functional._geometry import edge_pad, reflect_pad
from otfuse.functional._views import Camera, Job

FLOOR = 1e-6  # of the mean: the least light that is divided by, as in richardson_lucy
LEAST_SEEN = 0.01  # kLeastWeight of csrc/cpu/richardson_lucy.hpp


def scale_of(job: Job) -> Tensor:
    """The mean of each item, by which the floor is measured; 1 of one without light."""
    mean = job.mean(lambda camera: camera.image).detach()
    return torch.where(mean > 0, mean, 1)


def in_units(job: Job, scale: Tensor) -> list[Camera]:
    """The cameras in units of each item's mean, so that one floor serves all."""
    return [
        replace(
            c,
            image=c.image / scale,
            background=(c.background / scale).expand(c.image.shape).contiguous(),
        )
        for c in job.cameras
    ]


def first_estimate(function: str, job: Job, init: Any, least: float | Tensor | None) -> Tensor:
    """The start on the estimate's domain: the mean, the first image, or an array.

    Beyond an image its ends are carried on, beyond an array there is its mean. The start is nowhere
    below `least`, if that is given.
    """
    camera = job.cameras[0]
    level = job.mean(lambda c: c.image - c.background)
    level = level if least is None else level.clamp(min=least)
    if isinstance(init, str):
        _checks.one_of(function, "init", init, ("mean", "image"))
        inside = level.expand(camera.image.shape)
        if init == "image":
            light = camera.image - camera.background
            light = light if least is None else light.clamp(min=least)
            inside = light if camera.seen is None else torch.where(camera.seen > 0, light, level)
    else:
        inside = _given(function, job, init, least is not None)
        level = inside.mean(tuple(range(1, inside.ndim)), keepdim=True)
    estimate_shape = (inside.shape[0], *camera.blur.estimate_shape)
    if tuple(inside.shape) == estimate_shape:
        return inside
    if isinstance(init, str) and init == "image":
        places = zip(camera.blur.estimate_shape, camera.blur.image_window[1:], strict=True)
        return edge_pad(inside, [(w.start, n - w.stop) for n, w in places])
    around = level.expand(estimate_shape).clone()
    around[camera.blur.image_window] = inside
    return around


def _given(function: str, job: Job, init: Any, positive: bool) -> Tensor:
    """An array to start from, as one item per image, padded like them."""
    image = job.cameras[0].image
    array = to_tensor(function, "init", init)
    _checks.same_device(function, "init", array, image)
    grid = tuple(image.shape[1:])
    shape = tuple(c.stop - c.start for c in job.cut) or grid
    try:
        array = array.to(image.dtype).expand(*job.batch, *shape)
    except RuntimeError:
        raise ValueError(
            f"{function}: init must broadcast against the image, got shapes "
            f"{tuple(array.shape)} and {(*job.batch, *shape)}"
        ) from None
    if _checks.values_visible(array):
        low, _ = _checks.finite_values(function, "init", array)
        if low < 0 and positive:
            raise ValueError(f"{function}: init must not be negative, lowest value {low:g}")
    array = array.reshape(image.shape[0], *shape)
    if not job.cut:
        return array
    return reflect_pad(array, [(c.start, n - c.stop) for c, n in zip(job.cut, grid, strict=True)])


def with_momentum(
    step: Callable[[Tensor], Tensor],
    start: Tensor,
    n_iters: int,
    accelerated: bool,
    least: Tensor | None,
) -> Tensor:
    """start after n_iters of x <- step(p), p = x + (k-1)/(k+2) (x - x_before) or x itself.

    With `least`, p is at least that and x / 2, as in `richardson_lucy`. A step may leave its result
    in p, then `start` too.
    """
    estimate = previous = start
    for k in range(1, n_iters + 1):
        entering = estimate
        if accelerated:
            entering = torch.lerp(previous, estimate, 1 + (k - 1) / (k + 2))
            if least is not None:
                entering = entering.maximum((estimate / 2).maximum(least))
        previous, estimate = estimate, step(entering)
    return estimate


def light_of(camera: Camera) -> Tensor:
    """H^T 1: the share of each voxel's light that the camera sees."""
    return camera.blur.adjoint(camera.only_seen(torch.ones_like(camera.image)))


def weight_of(light: Tensor, kept: Tensor) -> Tensor:
    """1 / light where it is kept, else 0."""
    return torch.where(kept, 1 / torch.where(kept, light, 1), 0)


def correction_of(camera: Camera, estimate: Tensor) -> Tensor:
    """H^T(image / (H estimate + background)): by how much the estimate is too dark."""
    reblurred = camera.blur.forward(estimate)
    ratio = ops.rl_ratio(camera.image, reblurred, camera.background, FLOOR, False)
    return back_light(camera, ratio)


def back_light(camera: Camera, light: Tensor) -> Tensor:
    """H^T of what is not negative. What comes back negative is rounding, and goes.

    The derivative is that of the equation.
    """
    returned = camera.blur.adjoint(light)
    if returned.requires_grad:
        return returned - returned.detach().clamp(max=0)
    return returned.clamp_min_(0)
