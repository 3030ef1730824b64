# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy deconvolution: checks, defaults, boundaries; the loop itself is one op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype
from otfuse.functional._back_projector import KINDS, project_back
from otfuse.functional._devices import spread
from otfuse.functional._geometry import BOUNDARIES, match_batch
from otfuse.functional._rl_light import without_offset
from otfuse.functional._rl_run import NAME, Method, Run
from otfuse.functional._rl_stop import (
    Consensus,
    flattened,
    held_out_count,
    known_camera,
)
from otfuse.functional._views import observed_pixels
from otfuse.functional.otf import spatial_ndim
from otfuse.functional.plan import STOPS

ACCELERATIONS = (None, "shb", "biggs")
_N_ITERS, _N_ITERS_UNMATCHED, _MOST_UNMATCHED = 30, 2, 5


@dataclass(frozen=True)
class Progress:
    """What a callback sees: so many iterations done of `n_iters`."""

    i_divergence: Any  # (batch..., iterations done)
    estimate: Any  # cropped to the image, of its kind
    n_iters: int


def richardson_lucy(
    image: Any,
    psf: Any,
    n_iters: int | None = None,
    *,
    background: Any = 0.0,
    boundary: str = "extended",
    acceleration: str | None = None,
    back_projector: Any = None,
    force: bool = False,
    tv: float = 0.0,
    voxel: Sequence[float] | None = None,
    mask: Any = None,
    init: Any = None,
    stop: str | None = None,
    gain: float | None = None,
    offset: float | None = None,
    seed: int = 0,
    callback: Callable[[int, Progress], Any] | None = None,
    callback_every: int = 5,
    precision: str = "float32",
    devices: Sequence[Any] | None = None,
    ndim: int | None = None,
) -> Any:
    """The object that, blurred by the PSF, most likely gave the image (Poisson noise).

    x <- p B^T(y / (H p + b)) / (H^T 1 (1 - tv div(grad x / |grad x|))), where B is the PSF or
    another back projector, and p is x, or with an acceleration p = x + a (x - x_before), at
    least x / 2: with "shb" a = (k-1)/(k+2) in iteration k, with "biggs" a is how far the last two
    changes agree.
    With another back projector, what the camera does not see counts as explained:
    x <- p (B^T(y / (H p + b)) + 1 - B^T 1) in place of the division by H^T 1.

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx)
        Observed counts, not negative, background included. Integers are computed in float32.
    psf : array, shape (..., kz, ky, kx)
        Not negative; centre at k // 2, voxel size that of the image; it is normalised to sum 1.
        Leading axes broadcast against the image's (one PSF per channel).
    n_iters : int, optional
        At least 1. 30, or 2 with a back projector of its own.
    background : float, array or "auto"
        What does not come from the object, in the image's unit; what of it exceeds `offset` is
        light, and stays in the model. An array broadcasts against `image`; "auto" is the lowest
        value of each item once smoothed.
    boundary : {"extended", "circular", "reflect"}
        "extended" estimates n + k - 1 voxels, as far as light can come from, and returns those
        of the image; "circular" takes the image as periodic; "reflect" pads it by reflection.
    acceleration : {None, "shb", "biggs"}
        Both reach in a third of the iterations what plain iterations reach; "biggs" adapts its
        step, for half as much time again an iteration.
    back_projector : None, str or array
        None (or "matched") is the exact adjoint of the blur. "wiener_butterworth", "wiener",
        "butterworth" and "gaussian" are `otfuse.psf.back_projector`'s; an array of the psf's
        shape takes its place, normalised to sum 1. Starts from the image, needs 1 to 3
        iterations and destroys the image when iterated on; not to be had with an acceleration.
    force : bool
        Allows more than 5 iterations with a back projector of its own.
    tv : float
        Weight of the total variation, a length in the unit of `voxel` and well below a voxel's
        edge: 0.002 to 0.02 of it is usual. Smooths noise, keeps edges.
    voxel : sequence of float, optional
        Edges of a voxel along the spatial axes, for `tv`; 1 each if not given.
    mask : array, optional
        Broadcasts against `image`; zero where a pixel is saturated or dead.
    init : {"mean", "image"} or array, optional
        Where to start: the mean of each item, the image (its ends carried on outside of it), or
        an array of the image's shape. The mean, or the image with a back projector of its own.
    stop : {None, "idiv", "held_out", "gradient_consensus"}
        "idiv" ends the run when the I-divergence falls by less than 1e-4 of itself an iteration.
        "held_out" first runs on two halves of the photons, finds after how many iterations what
        they agree on is most like a late estimate of the other half, and runs that many on all
        (items of a batch share the number); the search takes 2 min(2 n_iters, 50) iterations
        and about 3 for each of the run.
        "gradient_consensus" (plain iterations only) leaves a voxel alone where two halves of the
        photons disagree about it, and ends when they do nearly everywhere.
    gain, offset : float, optional
        Counts per photon, and counts without light; the last two stops need them. The offset is
        taken off the image, where what is then negative becomes 0: were it part of the model,
        the same result would take two or three times as many iterations. With background "auto"
        it is by default what lies twice the dark places' noise below that.
    seed : int
        Of the lots that divide the photons.
    callback : callable, optional
        callback(i, progress) after every `callback_every` iterations and the last; a true answer
        ends the run. `progress` has `i_divergence`, `estimate` and `n_iters`.
    callback_every : int
        Iterations between two looks at the run, for `callback` and "idiv"; a look costs about
        as much as one iteration.
    precision : {"float32", "mixed"}
        "mixed" lets a CUDA device keep spectra in half precision, with arithmetic in float32:
        about half the memory traffic for results that differ by 1e-3 (bright structures) to
        1e-2 (noise, accelerated). Nothing changes on the CPU, in float64, and where an image
        fits on chip or goes through torch.fft.
    devices : sequence of devices, optional
        The first axis of a batch is divided among them; not with `stop` or `callback`.
    ndim : int, optional
        Number of spatial axes (1 to 3), by default that of `psf`.

    Returns
    -------
    array, shape of `image` (broadcast against leading axes of `psf`)
        The kind of `image`. Differentiable once in image (not with "gradient_consensus"), psf,
        init, an array background and an array back projector, with memory that grows as the
        square root of `n_iters`.

    Raises
    ------
    ValueError
        If the image is negative or not finite, the psf is negative, zero or not finite, shapes
        do not fit, devices differ, an option is unknown, or options exclude each other.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Richardson 1972; Lucy 1974; Bertero & Boccacci 2005 (edges); Wang & Miller 2014 ("shb");
    Biggs & Andrews 1997 ("biggs"); Guo et al. 2020 (back projectors); Dey et al. 2006 (tv).
    """
    if devices is not None:
        options = dict(locals())
        for name in ("image", "psf", "devices"):
            del options[name]
        return spread(richardson_lucy, image, psf, devices, options)
    _checks.at_least(NAME, "callback_every", callback_every, 1)
    _checks.one_of(NAME, "precision", precision, ("float32", "mixed"))
    unmatched = not (back_projector is None or _is_word(back_projector, "matched"))
    if n_iters is None:
        n_iters = _N_ITERS_UNMATCHED if unmatched else _N_ITERS
    _check_options(n_iters, boundary, acceleration, stop)
    if unmatched:
        _check_unmatched(n_iters, acceleration, back_projector, stop, force)
    camera = known_camera(stop, gain, offset)
    y, h, ndim = _check_arrays(image, psf, mask, ndim)
    batch = match_batch(NAME, y, h, ndim)
    back = _back_kernel(back_projector, h, y, ndim) if unmatched else None
    edges, tv = _variation(tv, voxel, ndim, stop, acceleration)
    batch, level = without_offset(background, offset, batch)
    method = Method(boundary, acceleration, back, tv, edges, *level, precision == "mixed")
    run = Run(batch, method, mask is not None)
    start = run.start(("image" if unmatched else "mean") if init is None else init)
    to_kind = back_to_kind(image)
    if camera is not None and stop == "held_out":
        n_iters = held_out_count(run, start.detach(), n_iters, camera, seed)

    def ended(done: int, divergence: Tensor, estimate: Tensor) -> bool:
        flat = stop == "idiv" and flattened(divergence, callback_every)
        if callback is None:
            return flat
        seen = Progress(to_kind(batch.unflatten(divergence)), to_kind(run.crop(estimate)), n_iters)
        return bool(callback(done, seen)) or flat

    if camera is not None and stop == "gradient_consensus":
        look = None if callback is None else ended
        result = Consensus(run, camera, seed).run(start, n_iters, callback_every, look)
    elif callback is None and stop != "idiv":
        result = run.whole(start, n_iters)
    else:
        result = run.in_chunks(start, n_iters, callback_every, ended)
    return to_kind(run.crop(result))


def _is_word(value: Any, word: str) -> bool:
    return isinstance(value, str) and value == word


def _check_options(n_iters: int, boundary: str, acceleration: str | None, stop: str | None) -> None:
    _checks.at_least(NAME, "n_iters", n_iters, 1)
    _checks.one_of(NAME, "boundary", boundary, BOUNDARIES)
    _checks.one_of(NAME, "acceleration", acceleration, ACCELERATIONS)
    _checks.one_of(NAME, "stop", stop, (None, *STOPS))


def _check_unmatched(
    n_iters: int, acceleration: str | None, back_projector: Any, stop: str | None, force: bool
) -> None:
    """What a back projector with negative lobes does not bear."""
    if isinstance(back_projector, str):
        _checks.one_of(NAME, "back_projector", back_projector, (None, *KINDS))
    if acceleration is not None:
        raise ValueError(
            f"{NAME}: acceleration must be None with a back projector of its own, got "
            f"{acceleration!r}; that is fast by itself"
        )
    if stop is not None:
        raise ValueError(
            f"{NAME}: stop must be None with a back projector of its own, got {stop!r}; "
            "give n_iters= of 1 to 3"
        )
    if n_iters > _MOST_UNMATCHED and not force:
        raise ValueError(
            f"{NAME}: n_iters must be at most {_MOST_UNMATCHED} with a back projector of its own, "
            f"got {n_iters}; it destroys the image when iterated on (force=True does so)"
        )


def _variation(
    tv: float,
    voxel: Sequence[float] | None,
    ndim: int,
    stop: str | None,
    acceleration: str | None,
) -> tuple[tuple[float, ...], float]:
    """Edges of a voxel and weight of the total variation; "gradient_consensus" bears none."""
    tv = _checks.finite_number(NAME, "tv", tv)
    if tv < 0:
        raise ValueError(f"{NAME}: tv must not be negative, got {tv:g}")
    if stop == "gradient_consensus" and (tv > 0 or acceleration is not None):
        raise ValueError(
            f"{NAME}: stop 'gradient_consensus' must go with plain iterations, got "
            f"acceleration {acceleration!r} and tv {tv:g}"
        )
    if voxel is None:
        return (1.0,) * ndim, tv
    if isinstance(voxel, int | float):
        raise TypeError(f"{NAME}: voxel must have {ndim} positive edges, got the number {voxel:g}")
    edges = tuple(_checks.finite_number(NAME, "voxel", v) for v in voxel)
    if len(edges) != ndim or min(edges) <= 0:
        raise ValueError(f"{NAME}: voxel must have {ndim} positive edges, got {edges}")
    return edges, tv


def _back_kernel(back_projector: Any, psf: Tensor, image: Tensor, ndim: int) -> Tensor:
    """The back projector, one for each PSF of the batch."""
    if isinstance(back_projector, str):
        back = project_back(psf, ndim, back_projector)
    else:
        back = to_tensor(NAME, "back_projector", back_projector).to(image.dtype)
        _checks.same_device(NAME, "back_projector", back, image)
        if back.shape != psf.shape:
            raise ValueError(
                f"{NAME}: back_projector must have the shape of psf, got {tuple(back.shape)} and "
                f"{tuple(psf.shape)}"
            )
        if _checks.values_visible(back):
            _check_light_of(back, ndim)
    back = back / back.sum(tuple(range(-ndim, 0)), keepdim=True)
    return match_batch(NAME, image, back, ndim).psf


def _check_light_of(back: Tensor, ndim: int) -> None:
    """It may be negative here and there, but not in all."""
    _checks.finite_values(NAME, "back_projector", back)
    least = float(back.detach().sum(tuple(range(-ndim, 0))).min())
    if least <= 0:
        raise ValueError(f"{NAME}: back_projector must have a positive sum, got {least:g}")


def _check_arrays(image: Any, psf: Any, mask: Any, ndim: int | None) -> tuple[Tensor, Tensor, int]:
    """Image and PSF in the working type; masked pixels are hidden, the PSF has sum 1."""
    y, h = to_tensor(NAME, "image", image), to_tensor(NAME, "psf", psf)
    ndim = spatial_ndim(NAME, h, ndim)
    _checks.same_device(NAME, "psf", h, y)
    _checks.spatial_axes(NAME, "image", y, ndim)
    y = y.to(working_dtype(y))
    h = h.to(y.dtype)
    observed = observed_pixels(NAME, "mask", mask, y)
    if _checks.values_visible(y):
        seen = y if observed is None else torch.where(observed, y, 0)
        _checks.nonnegative_image(NAME, seen)
    if observed is not None:
        y = torch.where(observed, y, -1)  # the core's way to leave a pixel out
    if _checks.values_visible(h):
        _checks.light_psf(NAME, h, ndim)
    return y, h / h.sum(tuple(range(-ndim, 0)), keepdim=True), ndim
