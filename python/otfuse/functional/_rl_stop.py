# SPDX-License-Identifier: BSD-3-Clause
"""When a Richardson-Lucy run has done enough."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from otfuse import ops
from otfuse.functional._photons import Camera
from otfuse.functional._rl_run import NAME, Run

STOPS = ("idiv", "held_out", "gradient_consensus")
_FLAT = 1e-4  # relative fall of the I-divergence per iteration below which "idiv" stops
# Of the photons, what a trial run may see. What predicts photons best has gone too far as an
# estimate of most specimens; a trial on half of them stops that much earlier (bench/NOTES.md).
_KEPT = 0.5
_PATIENCE = 5  # iterations without a better one after which the best is taken
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


def _split(image: Tensor, camera: Camera, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """A share of the photons and the rest; hidden pixels stay negative."""
    one, two = camera.split(image, share, seed)
    return torch.where(image < 0, -1, one), torch.where(image < 0, -1, two)


def held_out_count(run: Run, start: Tensor, n_iters: int, camera: Camera, seed: int) -> int:
    """How many iterations predict held-out photons best, of `n_iters` at most.

    A run on most of the photons is judged by how likely it makes the others; all items of a
    batch together. It is the point that an iteration starts from that is judged: with momentum
    that lies ahead of the estimate, about where the iteration leads.
    """
    seen, held = _split(given_image(run), camera, _KEPT, seed)
    trial = run.with_image(seen)
    best = 0

    def ended(done: int, divergence: Tensor, _: Tensor) -> bool:
        nonlocal best
        best = int(divergence.sum(0).argmin())
        return done - 1 - best >= _PATIENCE

    trial.in_chunks(start, n_iters, _PATIENCE, ended, run.judge(held))
    if best == n_iters - 1:  # its own result was not judged: nothing yet spoke against it
        return n_iters
    return max(best + int(run.method.acceleration is not None), 1)


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
        self._run, g = run, run.geometry
        halves = _split(given_image(run), camera, 0.5, seed)
        self._halves = [run.with_image(half).batch.image for half in halves]
        place = (g.grid, g.padded, g.psf_offset)
        self._otf = ops.make_otf(run.batch.psf, *place)
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
        ended: Callable[[int, Tensor, Tensor], bool],
    ) -> Tensor:
        """At most `n_iters` iterations, until hardly a voxel goes on or `ended` says so."""
        window = self._run.geometry.image_window
        voxels = start[window].numel()
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
            if (looked and ended(done + count, fell, x[window])) or stopped:
                break
        return x[window]

    def _steps(self, x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate, I-divergence and voxels of the image in consensus, (batch, count) each."""
        if x.device.type == "cpu" and not self._differentiable(x):
            return self._run.consensus(x, self._halves, count, self._otf)
        fell, found = [], []
        for _ in range(count):
            x, divergence, agreed = self._step(x)
            fell.append(divergence)
            inside = agreed[self._run.geometry.image_window]
            found.append(inside.double().flatten(1).sum(1))
        return x, torch.stack(fell, 1), torch.stack(found, 1)

    def _differentiable(self, x: Tensor) -> bool:
        batch = self._run.batch
        given = (x, batch.image, batch.psf, self._run.background_map)
        return torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in given)

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
