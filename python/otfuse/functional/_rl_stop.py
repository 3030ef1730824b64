# SPDX-License-Identifier: BSD-3-Clause
"""When a Richardson-Lucy run has done enough."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from otfuse import ops
from otfuse.functional._arrays import fits_fused_loop
from otfuse.functional._photons import Camera
from otfuse.functional._rl_run import NAME, Run

_FLAT = 1e-4  # relative fall of the I-divergence per iteration below which "idiv" stops
_LATE = 50  # accelerated iterations at most of a late estimate
_PATIENCE = 1.3  # so many times the best number without a better one, and the best is taken
_CONSENSUS = 0.01  # share of voxels that go on below which "gradient_consensus" stops


def known_camera(stop: str | None, gain: float | None, offset: float | None) -> Camera | None:
    """The camera, where `stop` needs one."""
    if stop not in ("held_out", "gradient_consensus"):
        return None
    if gain is None or offset is None:
        name = "gain" if gain is None else "offset"
        raise ValueError(
            f"{NAME}: stop {stop!r} must know the camera's gain= and offset=, got no {name}; "
            "it splits photons, and counts are photons * gain + offset"
        )
    return Camera.checked(NAME, gain, 0.0)  # the offset is taken off before


def flattened(divergence: Tensor, span: int) -> bool:
    """Every item's I-divergence fell by less than the limit an iteration, over the last `span`."""
    if divergence.shape[-1] <= span:
        return False
    before, now = divergence[..., -1 - span], divergence[..., -1]
    return bool((before - now <= _FLAT * span * before.abs()).all())


def _halves(image: Tensor, camera: Camera, seed: int) -> tuple[Tensor, Tensor]:
    """Two halves of the photons; hidden pixels stay negative."""
    one, two = camera.split(image, 0.5, seed)
    return torch.where(image < 0, -1, one), torch.where(image < 0, -1, two)


def held_out_count(run: Run, start: Tensor, n_iters: int, camera: Camera, seed: int) -> int:
    """How many iterations come nearest to the object, of `n_iters` at most.

    The photons are divided into two independent halves, a and b. What many accelerated iterations
    make of one, and go on to make, is noisy but hardly biased, and its noise knows nothing of
    the other's: the product <a_k, late_b> is on average that of a_k with the object. The mean of
    a_k and b_k has the noise of a run on all photons. Taken is the number k for which it is most
    alike the object (all items of a batch together):

        (<a_k, late_b> + <b_k, late_a>) / |a_k + b_k|        late = 2 x_K - x_K/2

    How well photons are predicted says less: it hardly depends on what the blur takes away, so
    it ends too early for points and too late for dense specimens (bench/NOTES.md).
    """
    halves = _halves(given_image(run), camera, seed)
    with torch.no_grad():
        late_a, late_b = (_late(run.with_image(half), start, n_iters) for half in halves)
        trials = [run.with_image(half).through(start, numbers(n_iters)) for half in halves]
        best, most = 1, -math.inf
        for (number, _, one), (_, _, two) in zip(*trials, strict=True):
            a, b = run.crop(one), run.crop(two)
            alike = float((a * late_b).sum() + (b * late_a).sum())
            alike /= max(float((a + b).norm()), sys.float_info.min)
            if alike > most:
                best, most = number, alike
            elif number > _PATIENCE * best + 1:
                break
    return best


def _late(run: Run, start: Tensor, n_iters: int) -> Tensor:
    """Where many accelerated iterations lead: as far again as the second half of them went."""
    count = min(2 * n_iters, _LATE)
    fast = run.with_image(given_image(run), acceleration="shb", tv=0.0)
    (*_, half), (*_, last) = fast.through(start, (count // 2, count))
    return run.crop(2 * last - half)


def numbers(n_iters: int) -> list[int]:
    """Numbers of iterations after which a trial is looked at: each, then every seventh part."""
    found = [1]
    while found[-1] < n_iters:
        found.append(min(found[-1] + max(1, found[-1] // 7), n_iters))
    return found


def given_image(run: Run) -> Tensor:
    """The image without the padding of a reflected one."""
    cut = [slice(a, a + n) for n, (a, _) in zip(run.shape, run.widths, strict=False)]
    return run.batch.image[(slice(None), *cut)] if cut else run.batch.image


class Consensus:
    """Richardson-Lucy iterations that leave a voxel alone where two halves of the data disagree.

    With c_a and c_b the corrections that two halves of the photons ask for, a voxel is updated by
    their mean where (c_a - 1)(c_b - 1), blurred there and back, is positive.

    Parameters
    ----------
    run : Run
    camera : Camera
    seed : int
        Of the split.
    """

    def __init__(self, run: Run, camera: Camera, seed: int) -> None:
        if run.batch.image.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{NAME}: image must not require gradients with stop 'gradient_consensus', got one "
                "that does; photons divided by lot have none, use .detach()"
            )
        self._run, g = run, run.geometry
        halves = _halves(given_image(run), camera, seed)
        self._halves = [run.with_image(half).batch.image for half in halves]
        place = (g.grid, g.padded, g.psf_offset)
        self._otf = ops.make_otf(run.batch.psf.detach(), *place)
        self._to_image = (*place[:2], g.estimate_offset, g.psf_offset, g.origin, g.image_shape)
        self._back = (*place[:2], g.origin, g.psf_offset, g.estimate_offset, g.estimate_shape)
        self._observed = (run.batch.image >= 0).to(run.batch.image.dtype)
        light = self._adjoint(self._observed) if run.weighted else None
        self._weight = None if light is None else torch.where(light > 0.01, 1 / light, 0)

    def _blur(self, x: Tensor) -> Tensor:
        batch = self._run.batch
        return ops.fft_convolve(x, batch.psf, self._otf, batch.inner, *self._to_image, False)

    def _adjoint(self, x: Tensor) -> Tensor:
        batch = self._run.batch
        return ops.fft_convolve(x, batch.psf, self._otf, batch.inner, *self._back, True)

    def run(
        self,
        start: Tensor,
        n_iters: int,
        every: int,
        ended: Callable[[int, Tensor, Tensor], bool] | None,
    ) -> Tensor:
        """At most `n_iters` iterations, until hardly a voxel goes on or `ended` says so."""
        window = self._run.geometry.image_window
        voxels = start[window].numel()
        if ended is None and start.shape[0] == 1 and self._fused(start):
            fewest = _CONSENSUS * voxels
            return self._run.consensus(start, self._halves, n_iters, self._otf, fewest)[0]
        x = start if self._weight is None else torch.where(self._weight > 0, start, 0)
        fell = start.new_empty((start.shape[0], 0), dtype=torch.float64)
        for done in range(0, n_iters, every):
            count = min(every, n_iters - done)
            after, divergence, agreed = self._steps(x, count)
            few = (agreed.sum(0) < _CONSENSUS * voxels).nonzero()
            stopped = few.numel() > 0
            if stopped and int(few[0]) + 1 < count:  # the iterations after that are not wanted
                count = int(few[0]) + 1
                after, divergence, _ = self._steps(x, count)
            x, fell = after, torch.cat((fell, divergence), 1)
            looked = count == every or done + count == n_iters
            if (looked and ended and ended(done + count, fell, x[window])) or stopped:
                break
        return x[window]

    def _fused(self, x: Tensor) -> bool:
        batch = self._run.batch
        return fits_fused_loop(x, batch.image, batch.psf, self._run.background_map)

    def _steps(self, x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate, I-divergence and voxels of the image in consensus, (batch, count) each."""
        if self._fused(x):
            return self._run.consensus(x, self._halves, count, self._otf)
        fell, found = [], []
        for _ in range(count):
            x, divergence, agreed = self._step(x)
            fell.append(divergence)
            inside = agreed[self._run.geometry.image_window]
            found.append(inside.double().flatten(1).sum(1))
        return x, torch.stack(fell, 1), torch.stack(found, 1)

    def _step(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The next estimate, the I-divergence of this one, and where the halves agree."""
        run = self._run
        model = (self._blur(x) + run.background()).maximum(run.floor)
        corrections = []
        for half in self._halves:
            back = self._adjoint(self._observed * half / model).clamp(min=0)
            corrections.append(back if self._weight is None else back * self._weight)
        first, second = corrections
        agreement = self._adjoint(self._observed * self._blur((first - 1) * (second - 1)))
        agreed = agreement > 0
        divergence = self._divergence(model)
        return torch.where(agreed, x * (first + second) / 2, x), divergence, agreed

    def _divergence(self, model: Tensor) -> Tensor:
        y = self._run.batch.image.clamp(min=0)
        terms = self._observed * (torch.xlogy(y, y / model) - y + model)
        return terms.double().flatten(1).sum(1)
