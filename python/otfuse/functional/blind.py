# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy deconvolution that also restores the PSF."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import back_to_kind, fits_fused_loop
from otfuse.functional._blur import Blur
from otfuse.functional._iterate import FLOOR, first_estimate, scale_of, weight_of
from otfuse.functional._views import Camera, View, backgrounds, prepare

_NAME = "blind_richardson_lucy"


class BlindResult(NamedTuple):
    """Object and PSF that together explain an image."""

    estimate: Any
    psf: Any


def blind_richardson_lucy(
    image: Any,
    psf: Any,
    n_iters: int = 10,
    *,
    object_iters: int = 10,
    psf_iters: int = 1,
    background: Any = 0.0,
    boundary: str = "extended",
    acceleration: str | None = "shb",
    mask: Any = None,
    init: Any = "mean",
    ndim: int | None = None,
) -> BlindResult:
    """Object and PSF by turns, each by Richardson-Lucy steps with the other held.

    With r = y / (h * x + b) and m what was observed (1 or 0), an iteration takes

        x <- x (h^T r) / (h^T m)    object_iters times
        h <- h (x^T r) / (x^T m)    psf_iters times, each time divided by its sum

    so the PSF stays where the given one is not zero, is nowhere negative and keeps the sum 1.
    Image and a point are one of the many pairs that explain an image. So start from a PSF that
    is about right and rather too wide than too narrow (a model), no larger than it has to be,
    and let the object go ahead: a PSF moves faster than an object, and one that moves before the
    object has settled takes up what belongs to the other.

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx)
        Observed counts, not negative, background included. Integers are computed in float32.
    psf : array, shape (..., kz, ky, kx)
        The PSF to start from: not negative, centre at k // 2; it is normalised to sum 1. Images
        that share a PSF (leading axes that broadcast) restore it together.
    n_iters, object_iters, psf_iters : int
        Iterations, and the steps of each kind in one of them; psf_iters may be 0.
    background : float or array
        Light that does not come from the object, in the image's unit; it stays in the model.
    boundary : {"extended", "circular", "reflect"}
        As in `richardson_lucy`.
    acceleration : {"shb", None}
        Momentum of the object's steps, which starts anew in each iteration. Without it the
        likelihood never falls.
    mask : array, optional
        Broadcasts against `image`; zero where a pixel is saturated or dead.
    init : {"mean", "image"} or array
        Where the object starts, as in `richardson_lucy`.
    ndim : int, optional
        Number of spatial axes (1 to 3), by default that of `psf`.

    Returns
    -------
    BlindResult
        `estimate`, of the image's kind and shape (broadcast against leading axes of `psf`), and
        `psf`, of the given one's kind and shape. Differentiable in image, psf, init and an array
        of background, with memory that grows as the number of all steps.

    Raises
    ------
    ValueError
        If the image is negative or not finite, the psf is negative, zero or not finite, shapes
        do not fit, devices differ, or an option is unknown.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Ayers & Dainty 1988; Holmes 1992; Fish et al., J. Opt. Soc. Am. A 12, 58 (1995).
    """
    _checks.at_least(_NAME, "n_iters", n_iters, 1)
    _checks.at_least(_NAME, "object_iters", object_iters, 1)
    _checks.at_least(_NAME, "psf_iters", psf_iters, 0)
    _checks.one_of(_NAME, "acceleration", acceleration, (None, "shb"))
    job = prepare(_NAME, [View(image, psf, mask, background)], boundary, ndim, counts=True)
    floor = FLOOR * scale_of(job)
    estimate, model = first_estimate(_NAME, job, init, floor), _Model(job.cameras[0], floor)
    blur = cast(Blur, job.cameras[0].blur)
    for _ in range(n_iters):
        estimate = model.restore_object(blur, estimate, object_iters, acceleration is not None)
        blur = model.restore_psf(blur, estimate, psf_iters)
    restored = blur.psf
    spatial = tuple(restored.shape[1:])
    lead = tuple(psf.shape[: len(psf.shape) - len(spatial)])
    if restored.shape[0] != torch.Size(lead).numel():
        lead = job.batch  # broadcast between axes that vary: one for each image
    found = back_to_kind(psf)(restored.reshape(*lead, *spatial))
    return BlindResult(back_to_kind(image)(job.finish(estimate)), found)


class _Model:
    """What the camera saw, for the steps of object and PSF."""

    def __init__(self, camera: Camera, floor: Tensor) -> None:
        self._camera, self._floor = camera, floor
        self._counts = camera.counts
        self._level, self._array = backgrounds([camera])
        self._weighted = cast(Blur, camera.blur).geometry.padded or camera.seen is not None

    def restore_object(self, blur: Blur, estimate: Tensor, steps: int, accelerated: bool) -> Tensor:
        """The object after so many steps, on its whole domain."""
        state = (estimate, None, None, self._floor.flatten(), self._array, None)
        settings = blur.loop_settings(steps, self._level, accelerated, self._weighted)
        return ops.richardson_lucy(self._counts, blur.psf, blur.otf, None, *state, *settings)[0]

    def restore_psf(self, blur: Blur, estimate: Tensor, steps: int) -> Blur:
        """The blur with the PSFs after so many steps."""
        axes, weight = tuple(range(1, estimate.ndim)), None
        for _ in range(steps):
            correction, light = self._terms(blur, estimate, self._weighted and weight is None)
            if light.numel():  # else it is alike for all of a PSF, which is then normalised
                most = light.amax(axes, keepdim=True).clamp(min=0)
                weight = weight_of(light, light > FLOOR * most)
            psf = blur.psf * (correction - correction.detach().clamp(max=0))
            psf = psf if weight is None else psf * weight
            total = psf.sum(axes, keepdim=True)
            psf = torch.where(total > 0, psf / torch.where(total > 0, total, 1), blur.psf)
            blur = blur.with_psf(psf)
        return blur

    def _terms(self, blur: Blur, estimate: Tensor, lit: bool) -> tuple[Tensor, Tensor]:
        """X^T(y / (h x + b)), and X^T 1 if `lit`, with the estimate's X; one for each PSF."""
        if fits_fused_loop(self._counts, estimate, blur.psf, self._array):
            g, otf = blur.geometry, cast(Tensor, blur.otf)
            arrays = (self._counts, blur.psf, otf, estimate, self._floor.flatten(), self._array)
            windows = (blur.inner, g.grid, g.padded, g.psf_offset, g.estimate_offset)
            terms = ops.psf_terms(*arrays, self._level, *windows, lit)
            return blur.per_psf(terms[0]), blur.per_psf(terms[1]) if lit else terms[1]
        camera = self._camera
        observed = camera.only_seen(torch.ones_like(camera.image))
        expected = (blur.forward(estimate) + camera.background).maximum(self._floor)
        light = blur.psf_adjoint(observed, estimate) if lit else blur.psf[:0]
        return blur.psf_adjoint(observed * camera.image / expected, estimate), light
