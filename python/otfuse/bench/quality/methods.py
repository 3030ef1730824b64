# SPDX-License-Identifier: BSD-3-Clause
"""What restores, as data: each method with the values of its knob, its default and its stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from otfuse import classical, landweber, richardson_lucy, tikhonov, wiener

ITERS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 70, 100)
_LOOK = 5  # iterations between two looks at a run; the longer runs are multiples of it


@dataclass(frozen=True)
class Observation:
    """What a method is given."""

    image: Tensor  # photons
    psf: Tensor
    background: float
    gain: float = 1.0  # counts per photon


Run = Callable[[Observation, float], Tensor]


@dataclass(frozen=True)
class Method:
    """A way to restore with one knob.

    Attributes
    ----------
    name : str
    run : function of an observation and a value of the knob
    values : the values that are tried, rising
    knob : what they are called; "iterations" where time grows with them
    default : the value that the method takes by itself; None where it has none
    stops : name -> function of an observation that finds its own end
    trace : all values in one go, where that is cheaper
    core : methods of the core are run in every condition, the others in the main ones
    """

    name: str
    run: Run
    values: tuple[float, ...]
    knob: str = "iterations"
    default: float | None = None
    stops: Mapping[str, Callable[[Observation], Tensor]] = field(default_factory=dict)
    trace: Callable[[Observation, tuple[float, ...]], Iterator[tuple[float, Tensor]]] | None = None
    core: bool = False

    def results(self, seen: Observation) -> Iterator[tuple[float, Tensor]]:
        """Yield each value of the knob and what comes of it."""
        if self.trace is not None:
            yield from self.trace(seen, self.values)
            return
        for value in self.values:
            yield value, self.run(seen, value)


def periodic_psf(seen: Observation) -> Tensor:
    """Return the PSF without what a periodic image has no room for."""
    image, kernel = seen.image, seen.psf
    box = []
    for n, k in zip(image.shape, kernel.shape, strict=True):
        half = (n - 1) // 2
        box.append(slice(max(0, k // 2 - half), k // 2 + half + 1))
    return kernel[tuple(box)]


def _iterative(
    name: str,
    *,
    values: tuple[float, ...] = ITERS,
    default: float | None = None,
    stops: tuple[str, ...] = (),
    core: bool = False,
    **options: Any,
) -> Method:
    """Return a Richardson-Lucy of the core as a method."""
    if options.get("boundary") == "circular":
        options["psf_of"] = periodic_psf
    psf_of = options.pop("psf_of", lambda seen: seen.psf)

    def run(seen: Observation, n_iters: float, **more: Any) -> Tensor:
        kernel, settings = psf_of(seen), {"background": seen.background, **options, **more}
        return richardson_lucy(seen.image, kernel, int(n_iters), **settings)

    def trace(seen: Observation, wanted: tuple[float, ...]) -> Iterator[tuple[float, Tensor]]:
        kept = {n: run(seen, n) for n in wanted if n % _LOOK}
        long = [n for n in wanted if n % _LOOK == 0]

        def look(done: int, progress: Any) -> bool:
            if done in long:
                kept[done] = progress.estimate.clone()
            return False

        if long:
            run(seen, max(long), callback=look, callback_every=_LOOK)
        yield from sorted(kept.items())

    def stopped(rule: str) -> Callable[[Observation], Tensor]:
        def restored(seen: Observation) -> Tensor:
            camera = {} if rule == "idiv" else {"gain": seen.gain, "offset": 0.0}
            return run(seen, max(values), stop=rule, **camera)

        return restored

    found = {rule: stopped(rule) for rule in stops}
    return Method(name, run, values, "iterations", default, found, trace, core)


def _landweber(seen: Observation, n_iters: float) -> Tensor:
    return landweber(
        seen.image,
        seen.psf,
        int(n_iters),
        background=seen.background,
        acceleration="nesterov",
    )


def _unblurred(function: Callable[..., Tensor], knob: str) -> Run:
    """Return a filter that takes the image without its background, cut off at zero."""

    def run(seen: Observation, value: float) -> Tensor:
        image = seen.image - seen.background
        return function(image, **{knob: value}).clamp(min=0)

    return run


def _inverse(function: Callable[..., Tensor], knob: str) -> Run:
    """Return a linear inverse, its negative values cut off."""

    def run(seen: Observation, value: float) -> Tensor:
        return function(seen.image - seen.background, seen.psf, **{knob: value}).clamp(min=0)

    return run


_LONG = (*ITERS, 150, 200)
_SHORT = (1, 2, 3, 5, 7, 10, 12, 14, 16, 18, 20, 22, 25, 30, 35, 40, 50)
_DAMPING = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)

METHODS: tuple[Method, ...] = (
    Method(
        "image",
        lambda seen, _: (seen.image - seen.background).clamp(min=0),
        (0.0,),
        "",
        0.0,
        core=True,
    ),
    _iterative("rl", values=_LONG, stops=("idiv", "held_out"), default=30, core=True),
    _iterative(
        "shb", acceleration="shb", values=_SHORT, stops=("idiv", "held_out"), default=30, core=True
    ),
    _iterative("biggs", acceleration="biggs", values=_SHORT, stops=("held_out",), default=30),
    _iterative(
        "wiener_butterworth",
        back_projector="wiener_butterworth",
        force=True,
        values=(1, 2, 3, 4, 5),
        default=2,
        core=True,
    ),
    _iterative(
        "wiener_butterworth reflect",
        back_projector="wiener_butterworth",
        force=True,
        boundary="reflect",
        values=(1, 2, 3, 4, 5),
        default=2,
        core=True,
    ),
    _iterative("shb tv", acceleration="shb", tv=0.01, values=_SHORT, default=30),
    Method(
        "rl consensus",
        lambda seen, n: richardson_lucy(
            seen.image,
            seen.psf,
            int(n),
            background=seen.background,
            stop="gradient_consensus",
            gain=seen.gain,
            offset=0.0,
        ),
        (100,),
        "iterations",
        100,
    ),
    _iterative("rl circular", boundary="circular", default=30, core=True),
    _iterative("rl reflect", boundary="reflect", default=30),
    _iterative("shb circular", acceleration="shb", boundary="circular", values=_SHORT, default=30),
    _iterative("shb reflect", acceleration="shb", boundary="reflect", values=_SHORT, default=30),
    Method("landweber", _landweber, (5, 10, 20, 30, 50), default=30),
    Method("wiener", _inverse(wiener, "balance"), _DAMPING, "balance"),
    Method("tikhonov", _inverse(tikhonov, "strength"), _DAMPING, "strength"),
)


def installed_filters() -> tuple[Method, ...]:
    """Return the classical filters that can be called here."""
    if not find_spec("skimage"):
        return ()
    sharp = Method(
        "unsharp mask", _unblurred(classical.unsharp_mask, "amount"), (0.5, 1.0, 2.0), "amount", 1.0
    )
    clahe = Method(
        "clahe", _unblurred(classical.clahe, "clip_limit"), (0.003, 0.01, 0.03), "clip_limit", 0.01
    )
    if not find_spec("pywt"):
        return sharp, clahe
    wavelets = _unblurred(lambda image, _: classical.wavelet_denoise(image), "_")
    return sharp, clahe, Method("wavelets", wavelets, (0.0,), "", 0.0)


def margins_of(seen: Observation) -> list[int]:
    """Return how far a peer's image is continued by reflection: half the PSF, if there is that
    much to reflect.
    """
    return [min(k // 2, n - 1) for n, k in zip(seen.image.shape, seen.psf.shape, strict=True)]


def padded(seen: Observation) -> tuple[Tensor, Tensor, tuple[slice, ...]]:
    """Return image and PSF for peers that have no edges and no background of their own, and
    where the image lies in it: the background is subtracted, the rest cut off at zero and
    continued by reflection, the PSF cut to odd extents that fit.
    """
    wide = margins_of(seen)
    image = (seen.image - seen.background).clamp(min=1e-6)
    index = [
        torch.tensor([*range(m, 0, -1), *range(n), *range(n - 2, n - 2 - m, -1)])
        for n, m in zip(image.shape, wide, strict=True)
    ]
    for axis, places in enumerate(index):
        image = image.index_select(axis, places)
    box = tuple(slice(m, m + n) for n, m in zip(seen.image.shape, wide, strict=True))
    kernel = periodic_psf(Observation(image, seen.psf, 0.0))
    return image, kernel / kernel.sum(), box
