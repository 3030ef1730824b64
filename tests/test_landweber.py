# SPDX-License-Identifier: BSD-3-Clause
"""landweber against the reference, and the reference against direct sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from direct import direct, reflected_widths
from otfuse import reference
from samples import BOUNDARIES, SAMPLES, Sample, by_name, counts, image_of, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

BACKGROUND = 2.0
N_ITERS = 5
FEW = [s for s in SAMPLES if np.prod(s.image) < 1500]


def oracle(
    image: np.ndarray, psf: np.ndarray, boundary: str, accelerated: bool, mask: np.ndarray
) -> np.ndarray:
    """Five iterations from the image; no batch."""
    light = np.where(mask, image - BACKGROUND, 0.0)
    level = max(light[mask].mean(), 0.0)
    x = np.where(mask, np.maximum(light, 0), level)
    begin = [0 if boundary == "circular" else k - 1 - k // 2 for k in psf.shape]
    if boundary == "reflect":
        pads = reflected_widths(image, psf)
        light, x, mask = (np.pad(a, pads, mode="reflect") for a in (light, x, mask))
    if boundary == "extended":
        pads = [(k - 1 - k // 2, k // 2) for k in psf.shape]
        x = np.pad(x, pads, mode="edge")
    kind = "extended" if boundary == "extended" else "circular"
    last = x
    for k in range(1, N_ITERS + 1):
        p = x + (k - 1) / (k + 2) * (x - last) if accelerated else x
        missing = mask * (light - direct(p, psf, kind, adjoint=False))
        step = 0.9 / np.abs(psf).sum() ** 2
        last, x = x, np.maximum(p + step * direct(missing, psf, kind, adjoint=True), 0.0)
    return x[tuple(slice(b, b + n) for b, n in zip(begin, image.shape, strict=True))]


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("acceleration", [None, "nesterov"], ids=["plain", "nesterov"])
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
    image, psf = counts(rng, shape), 1.5 * lopsided_psf(rng, extents)
    mask = rng.random(shape) > 0.2 if masked else np.ones(shape, bool)
    expected = oracle(image.numpy(), psf.numpy(), boundary, acceleration is not None, mask)
    options = {
        "background": BACKGROUND,
        "boundary": boundary,
        "acceleration": acceleration,
        "relaxation": 0.9,
        "mask": torch.from_numpy(mask) if masked else None,
    }
    for library in (reference, otfuse):
        actual = library.landweber(image, psf, N_ITERS, **options)
        error = float((actual - torch.from_numpy(expected)).norm() / np.linalg.norm(expected))
        assert error < 1e-10, library.__name__


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", FEW, ids=by_name)
def test_matches_reference(
    sample: Sample, boundary: str, dtype: torch.dtype, rng: np.random.Generator
) -> None:
    image, psf = image_of(sample, rng, dtype), lopsided_psf(rng, sample.psf, dtype)
    options = {"boundary": boundary, "acceleration": "nesterov", "init": "mean"}
    actual = otfuse.landweber(image, psf, N_ITERS, **options)
    assert actual.dtype == dtype
    expected = reference.landweber(image.double(), psf.double(), N_ITERS, **options)
    assert_close(actual, expected, "landweber", factor=2 * N_ITERS)


def test_reaches_the_least_squares(rng: np.random.Generator) -> None:
    """Without projection and noise it ends at the inverse, and each step comes nearer."""
    truth = torch.from_numpy(rng.normal(size=(10, 12)))
    psf = torch.tensor([[0.1, 0.0], [0.7, 0.2]], dtype=torch.float64)
    image = otfuse.fft_convolve(truth, psf)
    options = {"nonnegative": False, "boundary": "circular"}
    misfits = []
    for n in (1, 10, 100, 300):
        out = otfuse.landweber(image, psf, n, **options)
        misfits.append(float((otfuse.fft_convolve(out, psf) - image).norm()))
    assert misfits == sorted(misfits, reverse=True)
    assert_close(out, truth, "inverse", factor=1e6)


def test_momentum_is_ahead(rng: np.random.Generator) -> None:
    """In 30 iterations nearer than plain steps in 100."""
    psf = lopsided_psf(rng, (5, 4))
    image = otfuse.fft_convolve(counts(rng, (24, 25)), psf)
    misfits = []
    for n_iters, acceleration in ((30, "nesterov"), (100, None)):
        out = otfuse.landweber(image, psf, n_iters, boundary="circular", acceleration=acceleration)
        assert float(out.min()) >= 0
        misfits.append(float((otfuse.fft_convolve(out, psf) - image).norm()))
    assert misfits[0] < misfits[1]


def test_gradcheck(rng: np.random.Generator) -> None:
    image = (counts(rng, (2, 4, 5)) + 1).requires_grad_()
    psf = lopsided_psf(rng, (3, 2)).requires_grad_()
    init = (counts(rng, (2, 4, 5)) + 1).requires_grad_()
    background = torch.from_numpy(rng.random((4, 5))).requires_grad_()
    for boundary in BOUNDARIES:

        def restore(
            y: torch.Tensor,
            h: torch.Tensor,
            x: torch.Tensor,
            b: torch.Tensor,
            boundary: str = boundary,
        ) -> torch.Tensor:
            return otfuse.landweber(
                y, h, 3, init=x, background=b, boundary=boundary, acceleration="nesterov"
            )

        assert torch.autograd.gradcheck(restore, (image, psf, init, background))


def test_batches_channels_numpy_and_counts(rng: np.random.Generator) -> None:
    image = rng.integers(0, 1000, (2, 3, 9, 10)).astype(np.uint16)
    psf = np.stack([(j + 1) * lopsided_psf(rng, (3, 4)).numpy() for j in range(3)])
    out = otfuse.landweber(image, psf, N_ITERS, ndim=2)
    assert type(out) is np.ndarray
    assert out.dtype == np.float32
    for i, j in np.ndindex(2, 3):
        alone = reference.landweber(image[i, j].astype(float), psf[j], N_ITERS)
        assert_close(out[i, j], alone, f"item {i}, {j}", factor=2 * N_ITERS)


def test_masked_values_do_not_matter(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (12, 13)), lopsided_psf(rng, (4, 3))
    mask = torch.from_numpy(rng.random((12, 13)) > 0.1)
    expected = otfuse.landweber(image, psf, N_ITERS, mask=mask)
    hidden = torch.where(mask, image, torch.nan)
    assert_same(otfuse.landweber(hidden, psf, N_ITERS, mask=mask), expected, "hidden")


IMAGE, PSF = torch.ones(8, 9), torch.ones(3, 4)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        ((IMAGE, PSF, 0), ValueError, "n_iters must be at least 1"),
        ((IMAGE, torch.zeros(3, 4)), ValueError, "psf must not be zero"),
        ((IMAGE, torch.ones(9, 4), 1, {"boundary": "circular"}), ValueError, "psf must not be la"),
        ((IMAGE, PSF, 1, {"relaxation": 2.0}), ValueError, "relaxation must"),
        ((IMAGE, PSF, 1, {"relaxation": 0.0}), ValueError, "relaxation must"),
        (
            (IMAGE, PSF, 1, {"relaxation": 1.5, "acceleration": "nesterov"}),
            ValueError,
            "relaxation must",
        ),
        ((IMAGE, PSF, 1, {"acceleration": "shb"}), ValueError, "acceleration must be one of"),
        ((IMAGE, PSF, 1, {"boundary": "mirror"}), ValueError, "boundary must be one of"),
        ((IMAGE, PSF, 1, {"init": "zero"}), ValueError, "init must be one of"),
        ((IMAGE, PSF, 1, {"init": torch.ones(7, 9)}), ValueError, "init must broadcast"),
        ((IMAGE, PSF, 1, {"mask": torch.zeros(8, 9)}), ValueError, "mask must leave some"),
        ((IMAGE, PSF, 1, {"mask": torch.ones(7, 9)}), ValueError, "mask must broadcast"),
        ((IMAGE, PSF, 1, {"background": float("inf")}), ValueError, "background must be finite"),
        ((IMAGE, PSF, 1, {"background": torch.ones(7, 9)}), ValueError, "background must be a num"),
        ((IMAGE * torch.nan, PSF), ValueError, "image must be finite"),
        ((IMAGE + 1j, PSF), TypeError, "image must be real"),
        ((IMAGE, torch.ones(3, 3, 3)), ValueError, "image must have at least 3 axes"),
        ((IMAGE, PSF.to("meta")), ValueError, "psf must be on the image's device"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_rejects(call: tuple, error: type[Exception], match: str) -> None:
    *args, options = call if isinstance(call[-1], dict) else (*call, {})
    with pytest.raises(error, match=f"^landweber: {match}"):
        otfuse.landweber(*args, **options)


LOOPS = {
    "landweber": lambda y, h: otfuse.landweber(y, h, 2),
    "multiview": lambda y, h: otfuse.multiview_richardson_lucy([y, y], [h, h], 2),
    "blind": lambda y, h: otfuse.blind_richardson_lucy(y, h, 1, object_iters=2).estimate,
}


@pytest.mark.parametrize("restore", LOOPS.values(), ids=LOOPS)
def test_loops_outside_the_core_compile(
    restore: Callable, compiled: Callable, rng: np.random.Generator
) -> None:
    image, psf = counts(rng, (2, 6, 7)), lopsided_psf(rng, (3, 4))
    assert_close(compiled(restore)(image, psf), restore(image, psf), "compiled", factor=8)
