# SPDX-License-Identifier: BSD-3-Clause
"""blind_richardson_lucy against direct sums and its reference, and what it must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from direct import direct, reflected_widths
from otfuse import reference
from samples import BOUNDARIES, counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

BACKGROUND = 2.0
STEPS = {"object_iters": 3, "psf_iters": 3}
N_ITERS = 5


def psf_adjoint(u: np.ndarray, x: np.ndarray, extents: tuple[int, ...], kind: str) -> np.ndarray:
    """<u, blur of x by a point at m> for each m."""
    out = np.zeros(extents)
    for m in np.ndindex(extents):
        point = np.zeros(extents)
        point[m] = 1
        out[m] = (u * direct(x, point, kind, adjoint=False)).sum()
    return out


def oracle(
    image: np.ndarray, psf: np.ndarray, boundary: str, mask: np.ndarray, accelerated: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Five iterations from the mean; no batch."""
    h, shape = psf / psf.sum(), image.shape
    floor = 1e-6 * image[mask].mean()
    level = max(image[mask].mean() - BACKGROUND, floor)
    kind = "extended" if boundary == "extended" else "circular"
    begin = [0 if boundary == "circular" else k - 1 - k // 2 for k in psf.shape]
    if boundary == "reflect":
        pads = reflected_widths(image, psf)
        image, mask = (np.pad(a, pads, mode="reflect") for a in (image, mask))
    seen = mask.astype(float)
    x = np.full_like(direct(seen, h, kind, adjoint=True), level)
    for _ in range(N_ITERS):
        light = direct(seen, h, kind, adjoint=True)
        alive = light > 0.01
        x = last = np.where(alive, x, 0.0)
        for k in range(1, STEPS["object_iters"] + 1):
            p = x
            if accelerated:
                leap = np.maximum(x + (k - 1) / (k + 2) * (x - last), x / 2)
                p = np.where(alive, np.maximum(leap, floor), 0.0)
            ratio = seen * image / np.maximum(direct(p, h, kind, False) + BACKGROUND, floor)
            c = direct(ratio, h, kind, adjoint=True)
            last, x = x, np.where(alive, p * c / np.maximum(light, 0.01), 0.0)
        for _ in range(STEPS["psf_iters"]):
            ratio = seen * image / np.maximum(direct(x, h, kind, False) + BACKGROUND, floor)
            h = h * psf_adjoint(ratio, x, h.shape, kind) / psf_adjoint(seen, x, h.shape, kind)
            h = h / h.sum()
    return x[tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))], h


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "extents"), [((9, 10), (4, 3)), ((4, 6, 5), (3, 2, 4))], ids=["2d", "3d"]
)
def test_is_the_direct_loop(
    shape: tuple[int, ...],
    extents: tuple[int, ...],
    boundary: str,
    acceleration: str | None,
    masked: bool,
    rng: np.random.Generator,
) -> None:
    image, psf = counts(rng, shape), 3 * lopsided_psf(rng, extents)
    mask = rng.random(shape) > 0.2 if masked else np.ones(shape, bool)
    expected = oracle(image.numpy(), psf.numpy(), boundary, mask, acceleration is not None)
    options = {
        **STEPS,
        "background": BACKGROUND,
        "boundary": boundary,
        "acceleration": acceleration,
        "mask": torch.from_numpy(mask) if masked else None,
    }
    for library, graph in ((reference, False), (otfuse, False), (otfuse, True)):
        image.requires_grad_(graph)
        results = library.blind_richardson_lucy(image, psf, N_ITERS, **options)
        for name, actual, truth in zip(("estimate", "psf"), results, expected, strict=True):
            error = float(
                (actual.detach() - torch.from_numpy(truth)).norm() / np.linalg.norm(truth)
            )
            assert error < 1e-10, f"{library.__name__} {name}, differentiable {graph}"


def test_keeps_support_sign_and_sum(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (20, 21), torch.float32), lopsided_psf(rng, (5, 6), torch.float32)
    psf[0, 1:3], psf[3, 4] = 0, 0
    _, found = otfuse.blind_richardson_lucy(image, psf, 6)
    assert found.shape == psf.shape
    assert float(found.sum()) == pytest.approx(1, rel=1e-5)
    assert float(found.min()) >= 0
    assert bool((found[psf == 0] == 0).all())
    assert float((found - psf / psf.sum()).abs().max()) > 1e-3


def test_likelihood_never_falls(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (16, 17)), lopsided_psf(rng, (4, 3))
    options = {**STEPS, "boundary": "circular", "acceleration": None}
    divergences = []
    for n in range(1, 10):
        x, h = otfuse.blind_richardson_lucy(image, psf, n, **options)
        m = otfuse.fft_convolve(x, h)
        divergences.append(float((m - torch.xlogy(image, m)).sum()))
    assert divergences == sorted(divergences, reverse=True)


def test_finds_the_psf(rng: np.random.Generator) -> None:
    """Points blurred by a Gaussian of sigma 2, restored from one that is too wide."""
    truth = 3e4 * (torch.from_numpy(rng.random((64, 66))) > 0.985).double()
    blurred = otfuse.fft_convolve(truth, otfuse.psf.gaussian((15, 15), 2.0), boundary="reflect")
    generator = torch.Generator().manual_seed(8)
    image = torch.poisson(blurred.clamp(min=0) + 10, generator)
    first = otfuse.psf.gaussian((15, 15), 3.0, dtype=torch.float64)
    right = otfuse.psf.gaussian((15, 15), 2.0, dtype=torch.float64)
    found = otfuse.blind_richardson_lucy(image, first, background=10.0)
    assert float((found.psf - right).norm()) < 0.2 * float((first - right).norm())

    def misfit(h: torch.Tensor) -> float:
        """How far the restored image of a wrong PSF is from what the right one restores."""
        best = otfuse.richardson_lucy(image, right, 60, background=10.0)
        out = otfuse.richardson_lucy(image, h, 60, background=10.0)
        return float((out - best).norm() / best.norm())

    assert misfit(found.psf) < 0.2 * misfit(first)


def test_images_that_share_a_psf(rng: np.random.Generator) -> None:
    image = counts(rng, (2, 12, 13))
    image[1] *= 40
    psf = lopsided_psf(rng, (4, 3))
    shared = otfuse.blind_richardson_lucy(image, psf, 3)
    assert shared.psf.shape == (4, 3)
    expected = reference.blind_richardson_lucy(image, psf, 3)
    # Object and PSF pass each other's rounding on, so it grows by some 3 each time: 6e-12 seen.
    assert_close(shared.psf, expected[1], "shared psf", factor=1e5)
    assert_close(shared.estimate, expected[0], "shared estimate", factor=1e5)
    own = otfuse.blind_richardson_lucy(image, psf.expand(2, 4, 3), 3, ndim=2)
    assert own.psf.shape == (2, 4, 3)
    for i in range(2):
        alone = otfuse.blind_richardson_lucy(image[i], psf, 3)
        assert_close(own.psf[i], alone.psf, f"psf {i}", factor=1e5)
        assert_close(own.estimate[i], alone.estimate, f"estimate {i}", factor=1e5)


def test_no_psf_steps_is_richardson_lucy(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (12, 13)), lopsided_psf(rng, (4, 3))
    out = otfuse.blind_richardson_lucy(image, psf, 1, object_iters=6, psf_iters=0, background=1.0)
    expected = otfuse.richardson_lucy(image, psf, 6, background=1.0, acceleration="shb")
    assert_close(out.estimate, expected, "estimate", factor=20)
    assert_close(out.psf, psf / psf.sum(), "psf")


def test_kinds_and_empty_images(rng: np.random.Generator) -> None:
    image = rng.poisson(9, (2, 12, 13)).astype(np.uint16)
    image[1] = 0
    psf = np.stack([lopsided_psf(rng, (4, 3)).numpy()] * 2)
    out = otfuse.blind_richardson_lucy(image, psf, 2, ndim=2)
    assert type(out.estimate) is np.ndarray
    assert type(out.psf) is np.ndarray
    assert out.estimate.dtype == np.float32
    assert np.isfinite(out.estimate).all()
    assert_close(out.psf[1], psf[1] / psf[1].sum(), "psf of an empty image", dtype=torch.float32)


def test_gradcheck(rng: np.random.Generator) -> None:
    image = (counts(rng, (4, 5)) + 1).requires_grad_()
    psf = lopsided_psf(rng, (3, 2)).requires_grad_()
    for boundary in ("extended", "circular"):

        def restore(
            y: torch.Tensor, h: torch.Tensor, boundary: str = boundary
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return otfuse.blind_richardson_lucy(
                y, h, 2, object_iters=2, psf_iters=2, boundary=boundary
            )

        assert torch.autograd.gradcheck(restore, (image, psf))


def test_masked_values_do_not_matter(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (12, 13)), lopsided_psf(rng, (4, 3))
    mask = torch.from_numpy(rng.random((12, 13)) > 0.1)
    expected = otfuse.blind_richardson_lucy(image, psf, 2, mask=mask)
    hidden = torch.where(mask, image, torch.nan)
    actual = otfuse.blind_richardson_lucy(hidden, psf, 2, mask=mask)
    assert_same(actual.estimate, expected.estimate, "estimate")
    assert_same(actual.psf, expected.psf, "psf")


Y, H = torch.ones(8, 9), torch.ones(3, 4)


@pytest.mark.parametrize(
    ("image", "psf", "options", "error", "match"),
    [
        (-Y, H, {}, ValueError, "image must not be negative"),
        (Y * torch.nan, H, {}, ValueError, "image must be finite"),
        (Y, -H, {}, ValueError, "psf must not be negative"),
        (Y, 0 * H, {}, ValueError, "psf must hold some light"),
        (Y, H, {"n_iters": 0}, ValueError, "n_iters must be at least 1"),
        (Y, H, {"object_iters": 0}, ValueError, "object_iters must be at least 1"),
        (Y, H, {"psf_iters": -1}, ValueError, "psf_iters must be at least 0"),
        (Y, H, {"psf_iters": 1.5}, TypeError, "psf_iters must be a whole number"),
        (Y, H, {"boundary": "same"}, ValueError, "boundary must be one of"),
        (Y, H, {"init": "psf"}, ValueError, "init must be one of"),
        (Y, H, {"mask": 0 * Y}, ValueError, "mask must leave some"),
        (Y, torch.ones(9, 3), {"boundary": "circular"}, ValueError, "psf must not be larger"),
        (Y, torch.ones(2, 3, 4), {"ndim": 2}, None, ""),
        (torch.ones(3, 8, 9), torch.ones(2, 3, 4), {"ndim": 2}, ValueError, "psf must have lead"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_rejects(
    image: torch.Tensor, psf: torch.Tensor, options: dict, error: type | None, match: str
) -> None:
    if error is None:  # two PSFs for one image: two explanations
        assert otfuse.blind_richardson_lucy(image, psf, 1, **options).estimate.shape == (2, 8, 9)
        return
    with pytest.raises(error, match=f"^blind_richardson_lucy: {match}"):
        otfuse.blind_richardson_lucy(image, psf, **options)
