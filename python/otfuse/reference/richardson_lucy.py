# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy deconvolution, one line of code for each line of its definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import _grids as grids
from . import _stops as stops
from ._blur import Blur
from .back_projector import back_projector as make_back_projector

LEAST_SEEN = 0.01  # of a voxel's light: below that an estimate is left at 0
LEAST_DIVISOR = 0.1  # of the total variation's part in an update
FLAT_FLOORS = 1e3  # gradients well below so many floors count as flat


@dataclass(frozen=True)
class Info:
    """What a callback is told."""

    n_iters: int
    i_divergence: Tensor  # (batch..., iterations done)
    estimate: Tensor  # cropped to the image


@dataclass(frozen=True)
class Problem:
    """Image, mask and operator on the domain that is iterated on, and the way back."""

    image: Tensor
    mask: Tensor  # True where the image was observed
    blur: Blur
    back: Blur | None  # with another back projector in place of the PSF
    tv: float
    voxel: tuple[float, ...]
    framed: bool  # the estimate ends, rather than being periodic
    background: float | Tensor
    floor: Tensor
    weight: Tensor  # 1 / H^T mask where that is over LEAST_SEEN, else 0; 1 with `back`
    shift: Tensor | float  # 1 - B^T mask with `back`, else 0
    offsets: tuple[int, ...]  # of the image in the estimate
    shape: tuple[int, ...]  # of the image

    def reblurred(self, estimate: Tensor) -> Tensor:
        """Return the counts that the estimate predicts."""
        return torch.maximum(self.blur.forward(estimate) + self.background, self.floor)

    def correction(self, reblurred: Tensor) -> Tensor:
        """Return `H^T (image / reblurred)` over the observed voxels."""
        ratio = torch.where(self.mask, self.image / reblurred, 0.0)
        if self.back is not None:
            return self.back.adjoint(ratio) + self.shift
        returned = self.blur.adjoint(ratio)
        # What is negative is rounding: it goes, but the derivative is that of the equation.
        return returned - returned.detach().clamp(max=0)

    def divisor(self, estimate: Tensor) -> Tensor | float:
        """Return `1 - tv div(grad x / |grad x|)`, kept positive."""
        if self.tv == 0:
            return 1.0
        ndim, framed = len(self.shape), self.framed
        # A frame of zeros keeps the ends of the domain apart where it is not periodic.
        x = torch.nn.functional.pad(estimate, (0, int(framed)) * ndim)
        dims = grids.axes(ndim)
        steps = [(x.roll(-1, a) - x) / d for a, d in zip(dims, self.voxel, strict=True)]
        flat = (FLAT_FLOORS * self.floor) ** 2
        slope = torch.sqrt(torch.stack([g**2 for g in steps]).sum(0) + flat)
        divergence = torch.zeros_like(x)
        for a, d, g in zip(dims, self.voxel, steps, strict=True):
            flow = g / slope
            divergence = divergence + (flow - flow.roll(1, a)) / d
        inner = grids.crop(divergence, (0,) * ndim, grids.spatial(estimate, ndim))
        return (1 - self.tv * inner).clamp(min=LEAST_DIVISOR)

    def next_estimate(self, entering: Tensor, estimate: Tensor, reblurred: Tensor) -> Tensor:
        """Return what follows `entering`, the point reached from `estimate`."""
        factor = self.correction(reblurred) * self.weight / self.divisor(estimate)
        if self.back is None:
            return entering * factor
        return torch.maximum(entering * factor, self.floor)

    def i_divergence(self, reblurred: Tensor) -> Tensor:
        """Return the sum over the observed voxels of `y log(y / m) - y + m`, per batch item."""
        y, m = self.image.detach(), reblurred.detach()
        terms = torch.xlogy(y, y / m) - y + m
        return torch.where(self.mask, terms, 0.0).sum(grids.axes(len(self.shape)))

    def spread(self, array: Tensor, outside: Tensor) -> Tensor:
        """Return an array of the image's shape on the domain of the estimate."""
        if self.blur.grid == self.blur.shape:
            sizes = zip(self.blur.grid, self.offsets, self.shape, strict=True)
            return grids.pad_reflect(array, self.offsets, tuple(g - o - n for g, o, n in sizes))
        inside = grids.place(torch.ones_like(array), self.offsets, self.blur.grid)
        placed = grids.place(array, self.offsets, self.blur.grid)
        return torch.where(inside > 0, placed, outside)

    def spread_ends(self, array: Tensor) -> Tensor:
        """Return an array of the image's shape on the domain of the estimate, its ends outside."""
        if self.blur.grid == self.blur.shape:
            return self.spread(array, array)
        return grids.place_ends(array, self.offsets, self.blur.grid)

    def cropped(self, estimate: Tensor) -> Tensor:
        """Return the part of the estimate that lies under the image."""
        return grids.crop(estimate, self.offsets, self.shape)


def _observed_mean(image: Tensor, mask: Tensor | None, ndim: int) -> Tensor:
    """Return the mean over the observed voxels of each batch item."""
    dims = grids.axes(ndim)
    if mask is None:
        return image.mean(dims, keepdim=True)
    total = torch.where(mask, image, 0.0).sum(dims, keepdim=True)
    return total / mask.sum(dims, keepdim=True).clamp(min=1)


def _weight(blur: Blur, mask: Tensor, whole: bool, like: Tensor) -> Tensor:
    """Return `1 / H^T mask`; exactly 1 for a periodic blur of a wholly observed image."""
    if whole:
        return like.new_ones(blur.grid)
    seen = blur.adjoint(mask.to(like.dtype))
    kept = seen > LEAST_SEEN
    return torch.where(kept, 1.0 / torch.where(kept, seen, 1.0), 0.0)


def _start(
    init: str | Tensor,
    image: Tensor,
    background: float | Tensor,
    mask: Tensor | None,
    mean: Tensor,
    problem: Problem,
) -> Tensor:
    """Return the first estimate: the mean, the image, or an array, on the estimate's domain."""
    if not isinstance(init, str):
        array = torch.as_tensor(init).to(image)
        start = problem.spread(array, array.mean(grids.axes(len(problem.shape)), keepdim=True))
    elif init == "mean":
        start = mean
    elif init == "image":
        light = torch.maximum(image - background, problem.floor)
        start = problem.spread_ends(light if mask is None else torch.where(mask, light, mean))
    else:
        raise ValueError(f"richardson_lucy: init must be 'mean', 'image' or an array, got {init!r}")
    return torch.where(problem.weight > 0, start, 0.0)


def _problem(
    image: Tensor,
    psf: Tensor,
    back_projector: Tensor | None,
    mask: Tensor | None,
    background: float | Tensor,
    floor: Tensor,
    boundary: str,
    tv: tuple[float, tuple[float, ...]],
    ndim: int,
) -> Problem:
    """Return the problem on the domain that the boundary asks for."""
    shape = grids.spatial(image, ndim)
    offsets = after = (0,) * ndim
    seen = torch.ones_like(image, dtype=torch.bool) if mask is None else mask
    if boundary == "extended":
        make, offsets = Blur.extended, grids.leads(psf, ndim)
    elif boundary in ("circular", "reflect"):
        if boundary == "reflect":
            offsets, after = grids.smooth_margins(shape, psf)
            image, seen = (grids.pad_reflect(a, offsets, after) for a in (image, seen))
            if isinstance(background, Tensor):
                background = grids.pad_reflect(background, offsets, after)
        make = Blur.circular
    else:
        raise ValueError(
            "richardson_lucy: boundary must be 'circular', 'extended' or 'reflect', "
            f"got {boundary!r}"
        )
    blur = make(psf, grids.spatial(image, ndim))
    back = None if back_projector is None else make(back_projector, grids.spatial(image, ndim))
    framed = boundary == "extended"
    whole = mask is None and not framed
    weight = _weight(blur, seen, whole or back is not None, image)
    shift = 0.0 if back is None or whole else 1 - back.adjoint(seen.to(image.dtype))
    return Problem(
        image, seen, blur, back, *tv, framed, background, floor, weight, shift, offsets, shape
    )


def _step(k: int, acceleration: str, changes: list[Tensor], ndim: int) -> float | Tensor:
    """Return how far the last step is prolonged before iteration k."""
    if acceleration == "shb":
        return (k - 1) / (k + 2)
    if len(changes) < 2:
        return 0.0
    now, before = changes[-1], changes[-2]
    dims = grids.axes(ndim)
    square = (before**2).sum(dims, keepdim=True)
    product = (now * before).sum(dims, keepdim=True)
    return torch.where(square > 0, product / torch.where(square > 0, square, 1.0), 0.0).clamp(0, 1)


def _entering(estimate: Tensor, previous: Tensor, step: float | Tensor, problem: Problem) -> Tensor:
    """Return the estimate pushed on by momentum, which may take half of a voxel but no more."""
    pushed = torch.maximum(estimate + step * (estimate - previous), estimate / 2)
    return torch.where(problem.weight > 0, torch.maximum(pushed, problem.floor), 0.0)


def richardson_lucy(
    image: Tensor,
    psf: Tensor,
    n_iters: int | None = None,
    *,
    background: float | Tensor = 0.0,
    boundary: str = "extended",
    acceleration: str | None = None,
    back_projector: str | Tensor | None = None,
    tv: float = 0.0,
    voxel: tuple[float, ...] | None = None,
    mask: Tensor | None = None,
    init: str | Tensor | None = None,
    stop: str | None = None,
    gain: float = 1.0,
    offset: float = 0.0,
    seed: int = 0,
    callback: Callable[[int, Info], object] | None = None,
    ndim: int | None = None,
) -> Tensor:
    """Return the estimate after `n_iters` iterations; see `otfuse.richardson_lucy`."""
    if acceleration not in (None, "shb", "biggs"):
        raise ValueError(
            f"richardson_lucy: acceleration must be None, 'shb' or 'biggs', got {acceleration!r}"
        )
    image, psf, ndim = grids.pair(image, psf, ndim)
    psf = psf / psf.sum(grids.axes(ndim), keepdim=True)
    back = back_projector
    if isinstance(back, str):
        back = None if back == "matched" else make_back_projector(psf, back, ndim=ndim)
    if back is not None:
        back = back / back.sum(grids.axes(ndim), keepdim=True)
    if n_iters is None:
        n_iters = 30 if back is None else 2
    if mask is not None:
        mask = (torch.as_tensor(mask) != 0).expand(image.shape)
    if isinstance(background, Tensor) and background.ndim:
        background = background.to(image).expand(image.shape)
    edges = (1.0,) * ndim if voxel is None else tuple(voxel)

    if offset:  # counts that no light caused
        image = (image - offset).clamp(min=0)
        dark = background - offset
        background = dark.clamp(min=0) if isinstance(dark, Tensor) else max(dark, 0.0)

    def problem_of(image: Tensor) -> Problem:
        mean = _observed_mean(image, mask, ndim)
        floor = torch.where(mean == 0, 1e-6, 1e-6 * mean).detach()
        return _problem(image, psf, back, mask, background, floor, boundary, (tv, edges), ndim)

    problem = problem_of(image)
    level = background
    if isinstance(background, Tensor) and background.ndim:
        level = background.mean(grids.axes(ndim), keepdim=True)
    mean = torch.maximum(_observed_mean(image, mask, ndim) - level, problem.floor)
    if init is None:
        init = "mean" if back is None else "image"
    start = _start(init, image, background, mask, mean, problem)
    if stop in ("held_out", "gradient_consensus"):
        one, two = map(problem_of, stops.halves(image, mask, (gain, 0.0, seed)))
        if stop == "gradient_consensus":
            return problem.cropped(_agree(problem, (one, two), start, n_iters))
        n_iters = _held_out_count(one, two, start, n_iters, acceleration)
    return problem.cropped(_iterate(problem, start, n_iters, acceleration, stop, callback))


def _held_out_count(
    one: Problem, two: Problem, start: Tensor, n_iters: int, acceleration: str | None
) -> int:
    """Return after how many iterations two halves' mean is most like what they show later on."""

    def restored(problem: Problem, number: int, acceleration: str | None) -> Tensor:
        return problem.cropped(_iterate(problem, start, number, acceleration, None, None))

    late = min(2 * n_iters, stops.LATE)
    free = [replace(half, tv=0.0) for half in (one, two)]
    late_a, late_b = (
        2 * restored(half, late, "shb") - restored(half, late // 2, "shb") for half in free
    )
    likenesses: dict[int, float] = {}
    for number in stops.numbers(n_iters):
        a, b = (restored(half, number, acceleration) for half in (one, two))
        product = (a * late_b + b * late_a).sum()
        likenesses[number] = float(product / (a + b).norm().clamp(min=1e-300))
        best = max(likenesses, key=lambda k: likenesses[k])
        if number > stops.PATIENCE * best + 1:
            break
    return best


def _agree(problem: Problem, parts: tuple[Problem, Problem], start: Tensor, n_iters: int) -> Tensor:
    """Return the estimate of iterations that skip voxels on which two halves disagree."""
    estimate = start
    for _ in range(n_iters):
        reblurred = problem.reblurred(estimate)
        one, two = (part.correction(reblurred) * problem.weight for part in parts)
        blurred = problem.blur.forward((one - 1) * (two - 1))
        agreed = problem.blur.adjoint(torch.where(problem.mask, blurred, 0.0)) > 0
        estimate = torch.where(agreed, estimate * (one + two) / 2, estimate)
        if float(problem.cropped(agreed).double().mean()) < stops.CONSENSUS:
            break
    return estimate


def _iterate(
    problem: Problem,
    start: Tensor,
    n_iters: int,
    acceleration: str | None,
    stop: str | None,
    callback: Callable[[int, Info], object] | None,
) -> Tensor:
    """Return the estimate after the last iteration, on its domain."""
    estimate = previous = start
    i_divergence: list[Tensor] = []
    changes: list[Tensor] = []
    for k in range(1, n_iters + 1):
        entering = estimate
        if acceleration is not None:
            step = _step(k, acceleration, changes, len(problem.shape))
            entering = _entering(estimate, previous, step, problem)
        reblurred = problem.reblurred(entering)
        i_divergence.append(problem.i_divergence(reblurred))
        previous, estimate = estimate, problem.next_estimate(entering, estimate, reblurred)
        changes = [*changes[-1:], estimate - entering]
        if k % stops.REPORT_EVERY and k < n_iters:
            continue
        if callback is not None:
            info = Info(n_iters, torch.stack(i_divergence, -1), problem.cropped(estimate))
            if callback(k, info):
                break
        if stop == "idiv" and stops.flat(i_divergence):
            break
    return estimate
