# SPDX-License-Identifier: BSD-3-Clause
"""Blind deconvolution in the parameters of an optical model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype
from otfuse.functional._geometry import next_fast_shape
from otfuse.functional._photons import Camera
from otfuse.functional.fft_convolve import fft_convolve
from otfuse.functional.richardson_lucy import richardson_lucy

_NAME = "fit_psf"
_STEPS = 8  # of the search by gradients; three or four are usual
_SURE = 0.01  # nats, or a step in the logit of a place in its range: less ends the search
_LOOK = 10  # iterations between two judgements of a run
_ROUNDS = 3  # of a search at a number of iterations and a choice of that number


class PsfFit(NamedTuple):
    """Optical parameters, the PSF that they give, and the object that it restores."""

    parameters: dict[str, float]
    psf: Tensor
    estimate: Any
    n_iters: int
    surprise: float


@dataclass(frozen=True)
class _Split:
    """Photons to restore from and photons to judge by, on the grid of the estimate."""

    seen: Tensor
    held: Tensor
    mask: Tensor
    camera: Camera
    share: float


Model = Callable[..., Tensor]


def fit_psf(
    image: Any,
    model: Model,
    ranges: Mapping[str, tuple[float, float]],
    *,
    gain: float,
    offset: float,
    background: float = 0.0,
    n_iters: int = 100,
    acceleration: str | None = "shb",
    share: float = 0.5,
    scan: int = 5,
    seed: int = 0,
) -> PsfFit:
    """The optical parameters whose PSF restores an object that foretells unseen photons best.

    The photons of the image are divided by lot into two independent parts. One is restored with
    the PSF of the parameters; the estimate, blurred again, has to explain the other. A wrong PSF
    may explain the photons that it was fitted to, but not those that it has not seen. The best of
    a coarse scan of the ranges is where a search by gradients starts (BFGS), which flow through
    the iterations and through the model. Too few iterations would favour a PSF that is too sharp
    and too many one that is too wide, so their number is judged by the held-out photons as well.

    What the data do not tell cannot be found: in three dimensions a defocus is only a shift of
    the object, and where the objective's index is the sample's, depth has no effect.

    Parameters
    ----------
    image : array, shape (nz, ny, nx) or (ny, nx)
        Observed counts, not negative: photons * gain + offset.
    model : callable
        model(**parameters) gives a PSF as a Tensor, differentiable in 0-d float64 Tensors; for
        instance `lambda sample_index: otfuse.psf.widefield(shape, voxel, ..., depth=10.0,
        sample_index=sample_index)`. As many axes as the image; it is normalised to sum 1.
    ranges : mapping of str to (float, float)
        Lowest and highest value of each parameter that is sought.
    gain, offset : float
        Of the camera: counts per photon, counts without light.
    background : float
        Counts that do not come from the object, the camera's offset included.
    n_iters : int
        Most iterations of the restoration; as many of them are taken as foretell best.
    acceleration : {"shb", None}
        As in `richardson_lucy`.
    share : float
        Part of the photons that is restored from.
    scan : int
        Values of each parameter tried at first; 1 starts in the middle of the ranges.
    seed : int
        Of the lot.

    Returns
    -------
    PsfFit
        `parameters` as floats; `psf`, a Tensor of sum 1; `estimate`, restored with it from all
        photons, of the image's kind; the `n_iters` taken; and `surprise`, the negative
        log-likelihood of the held-out photons (nats, up to a constant), by which fits of one
        image with one seed can be compared.

    Raises
    ------
    ValueError
        If the image is negative or not finite or holds no photons, a range is empty, gain is not
        positive, or an option is out of its range.
    TypeError
        If an array is complex or does not hold numbers, or the model gives no Tensor.

    References
    ----------
    Gibson & Lanni 1992 (what a sample index does); Holmes 1992 (blind deconvolution).
    """
    _checks.at_least(_NAME, "n_iters", n_iters, 1)
    _checks.at_least(_NAME, "scan", scan, 1)
    limits = _checked_ranges(ranges)
    y = to_tensor(_NAME, "image", image).detach()
    y = y.to(working_dtype(y))
    _checks.nonnegative_image(_NAME, y)
    middle = torch.tensor([0.5] * len(limits), dtype=torch.float64)
    extents = _psf_of(model, limits, middle, y).shape
    split = _split(y, extents, gain, offset, share, seed)

    trial = _Trial(split, limits, model, background, acceleration, n_iters)
    best = min(_grid(len(limits), scan), key=lambda place: trial.judged(place)[0])
    taken = trial.judged(best)[1]
    for _ in range(_ROUNDS):
        best = _descend(partial(trial.surprise, n_iters=taken), best)
        before, (lowest, taken) = taken, trial.judged(best)
        if taken == before:
            break
    psf = trial.psf(best).detach()
    estimate = richardson_lucy(y, psf, taken, background=background, acceleration=acceleration)
    found = {name: float(value) for name, value in _values(limits, best).items()}
    return PsfFit(found, psf, back_to_kind(image)(estimate), taken, lowest)


@dataclass(frozen=True)
class _Trial:
    """A restoration from the photons that are seen, and what it foretells of the others."""

    split: _Split
    limits: Mapping[str, tuple[float, float]]
    model: Model
    background: float
    acceleration: str | None
    n_iters: int

    def psf(self, place: Tensor) -> Tensor:
        return _psf_of(self.model, self.limits, place, self.split.seen)

    def _restored(self, psf: Tensor, n_iters: int, **options: Any) -> Tensor:
        seen, mask = self.split.seen, self.split.mask
        options.update(background=self.background, acceleration=self.acceleration, mask=mask)
        estimate: Tensor = richardson_lucy(seen, psf, n_iters, boundary="circular", **options)
        return estimate

    def _surprise(self, estimate: Tensor, psf: Tensor) -> Tensor:
        """Negative log-likelihood of the held-out photons, in nats, up to a constant."""
        s = self.split
        expected = fft_convolve(estimate, psf) + (self.background - s.camera.offset)
        light = expected.clamp(min=1e-6 * s.camera.gain)
        terms = s.mask * (light - s.held * light.log())
        return terms.double().sum() * ((1 - s.share) / s.camera.gain)

    def surprise(self, place: Tensor, n_iters: int) -> Tensor:
        """After `n_iters` iterations; differentiable in the place."""
        psf = self.psf(place)
        return self._surprise(self._restored(psf, n_iters), psf)

    def judged(self, place: Tensor) -> tuple[float, int]:
        """The least surprise of a run, looked at every few iterations, and after how many."""
        looks: list[tuple[float, int]] = []

        def look(done: int, progress: Any) -> bool:
            looks.append((float(self._surprise(progress.estimate, psf)), done))
            return looks[-1] > min(looks)

        with torch.no_grad():
            psf = self.psf(place)
            self._restored(psf, self.n_iters, callback=look, callback_every=_LOOK)
        return min(looks)


def _checked_ranges(ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    if not ranges:
        raise ValueError(f"{_NAME}: ranges must name at least one parameter, got none")
    limits = {}
    for name, pair in ranges.items():
        low, high = (_checks.finite_number(_NAME, f"ranges[{name!r}]", v) for v in pair)
        if not low < high:
            raise ValueError(
                f"{_NAME}: ranges[{name!r}] must rise from lowest to highest, got {low:g}, {high:g}"
            )
        limits[name] = (low, high)
    return limits


def _values(limits: Mapping[str, tuple[float, float]], place: Tensor) -> dict[str, Tensor]:
    """Parameters at a place in the unit cube."""
    return {
        name: low + (high - low) * part
        for (name, (low, high)), part in zip(limits.items(), place, strict=True)
    }


def _psf_of(
    model: Model, limits: Mapping[str, tuple[float, float]], place: Tensor, image: Tensor
) -> Tensor:
    psf = model(**_values(limits, place))
    if not isinstance(psf, Tensor):
        raise TypeError(f"{_NAME}: model must give a Tensor, got {type(psf).__name__}")
    if psf.ndim != image.ndim or psf.ndim not in (2, 3):
        raise ValueError(
            f"{_NAME}: model must give a PSF with the image's axes, 2 or 3, got shape "
            f"{tuple(psf.shape)} and image {tuple(image.shape)}"
        )
    psf = psf.to(image)
    return psf / psf.sum()


def _split(
    image: Tensor, extents: tuple[int, ...], gain: float, offset: float, share: float, seed: int
) -> _Split:
    """Both parts at full exposure, at the origin of a grid as large as the estimate."""
    camera = Camera.checked(_NAME, gain, offset)
    share = _checks.finite_number(_NAME, "share", share)
    if not 0 < share < 1:
        raise ValueError(f"{_NAME}: share must be between 0 and 1, got {share:g}")
    if not bool(camera.photons(image).any()):
        raise ValueError(
            f"{_NAME}: image must hold photons above offset {offset:g}, got none; "
            "counts are photons * gain + offset"
        )
    seen, held = camera.split(image, share, seed)
    grid = next_fast_shape([n + k - 1 for n, k in zip(image.shape, extents, strict=True)])
    pads = [p for g, n in zip(grid[::-1], image.shape[::-1], strict=True) for p in (0, g - n)]

    def padded(part: Tensor) -> Tensor:
        return torch.nn.functional.pad(part, pads)

    first = (seen + camera.offset).clamp(min=0)
    mask = padded(torch.ones_like(image))
    return _Split(padded(first), padded(held), mask, camera, share)


def _grid(count: int, scan: int) -> list[Tensor]:
    """Places in the unit cube, off its ends."""
    line = (torch.arange(scan, dtype=torch.float64) + 0.5) / scan
    return [torch.stack(place) for place in itertools.product(line, repeat=count)]


def _descend(surprise: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """From there by BFGS to the least surprise inside the ranges."""
    inner = torch.logit(start).requires_grad_()
    search = torch.optim.LBFGS(
        [inner],
        max_iter=_STEPS,
        max_eval=3 * _STEPS,
        tolerance_grad=_SURE,
        tolerance_change=_SURE,
        line_search_fn="strong_wolfe",
    )

    def evaluate() -> float:
        search.zero_grad()
        loss = surprise(torch.sigmoid(inner))
        loss.backward()
        return float(loss.detach())

    search.step(evaluate)
    return torch.sigmoid(inner.detach())
