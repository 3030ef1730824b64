# SPDX-License-Identifier: BSD-3-Clause
"""Back projectors: what they are, and the loop with one of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_adjoint, assert_close, assert_same
from otfuse import reference
from samples import BOUNDARIES, by_name, counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ["matched", "gaussian", "butterworth", "wiener", "wiener_butterworth"]


def blurry_psf(shape: tuple[int, ...], width: float = 1.6) -> torch.Tensor:
    """A PSF that passes nothing near the Nyquist frequency, and that equals no mirror image."""
    places = np.meshgrid(*[np.arange(k) - k // 2 for k in shape], indexing="ij")
    light = np.exp(-sum((p / (width + 0.2 * i)) ** 2 for i, p in enumerate(places)) / 2)
    light *= 1 + 0.3 * np.tanh(places[-1])
    return torch.from_numpy(light / light.sum())


@pytest.mark.parametrize("shape", [(9, 11), (10, 9), (7, 10, 9)], ids=by_name)
@pytest.mark.parametrize("kind", KINDS)
def test_matches_reference(kind: str, shape: tuple[int, ...]) -> None:
    psf = 3 * blurry_psf(shape)
    actual = otfuse.psf.back_projector(psf, kind)
    assert actual.shape == psf.shape
    assert_close(actual, reference.back_projector(psf, kind), kind, factor=64)
    options = {"alpha": 0.01, "beta": 0.05, "n": 4, "resolution": [3.0, 4.0, 5.0][-len(shape) :]}
    actual = otfuse.psf.back_projector(psf, kind, **options)
    assert_close(actual, reference.back_projector(psf, kind, **options), kind, factor=64)


@pytest.mark.parametrize("kind", KINDS)
def test_follows_the_formula(kind: str) -> None:
    """In numpy, with full spectra, along a PSF that is a line."""
    alpha, beta, n, width = 0.01, 0.1, 6, 4.0
    psf = blurry_psf((1, 16))
    k = np.fft.fftfreq(16)
    light = np.fft.fft(np.fft.ifftshift(psf.numpy()[0]))
    place = np.arange(16) - 8
    w = (k * width) ** 2
    wiener = light / (np.abs(light) ** 2 + alpha)
    at_cutoff = abs((psf.numpy()[0] * np.exp(-2j * np.pi * place / width)).sum())
    passed = at_cutoff / (at_cutoff**2 + alpha)
    expected = {
        "matched": light,
        "gaussian": None,
        "butterworth": 1 / np.sqrt(1 + (1 / beta**2 - 1) * w**n),
        "wiener": wiener,
        "wiener_butterworth": wiener / np.sqrt(1 + (passed / beta**2 - 1) * w**n),
    }[kind]
    actual = otfuse.psf.back_projector(
        psf, kind, alpha=alpha, beta=beta, n=n, resolution=(1.0, width)
    )
    if expected is None:
        line = 2.0 ** -((2 * place / width) ** 2)
        assert_close(actual[0], line / line.sum(), kind)
    else:
        assert_close(actual[0], np.fft.fftshift(np.fft.ifft(expected).real), kind)


def test_the_default_resolution_is_the_full_width_at_half_maximum() -> None:
    sigma = 2.0
    place = torch.arange(31, dtype=torch.float64) - 15
    line = torch.exp(-0.5 * (place / sigma) ** 2)
    psf = line[:, None] * torch.exp(-0.5 * (place / 3.0) ** 2)
    width = 2 * np.sqrt(2 * np.log(2))
    for kind in ("gaussian", "butterworth", "wiener_butterworth"):
        found = otfuse.psf.back_projector(psf, kind)
        given = otfuse.psf.back_projector(psf, kind, resolution=(width * sigma, width * 3.0))
        assert float((found - given).norm() / given.norm()) < 0.02  # between samples it is a chord


def test_each_psf_has_its_own() -> None:
    psfs = torch.stack([blurry_psf((9, 8), w) for w in (1.2, 1.6, 2.0)])
    together = otfuse.psf.back_projector(psfs, ndim=2)
    for psf, back in zip(psfs, together, strict=True):
        assert_close(back, otfuse.psf.back_projector(psf), "back projector")


def test_gradcheck() -> None:
    psf = blurry_psf((5, 6)).requires_grad_()
    for kind in KINDS[2:]:
        assert torch.autograd.gradcheck(
            lambda h, kind=kind: otfuse.psf.back_projector(h, kind, resolution=3.0), psf
        )


def direct_loop(
    image: np.ndarray, psf: np.ndarray, back: np.ndarray, n_iters: int, background: float
) -> np.ndarray:
    """The periodic loop, by full transforms in numpy, from the image."""
    forward, backward = (
        np.fft.fftn(
            np.roll(
                np.pad(h, [(0, n - k) for n, k in zip(image.shape, h.shape, strict=True)]),
                [-(k // 2) for k in h.shape],
                range(h.ndim),
            )
        )
        for h in (psf, back / back.sum())
    )
    floor = 1e-6 * image.mean()
    x = np.maximum(image - background, floor)
    for _ in range(n_iters):
        model = np.fft.ifftn(np.fft.fftn(x) * forward).real + background
        ratio = image / np.maximum(model, floor)
        correction = np.fft.ifftn(np.fft.fftn(ratio) * backward.conj()).real
        x = np.maximum(x * correction, floor)
    return x


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("shape", [(24, 27), (9, 16, 18)], ids=by_name)
def test_five_iterations_in_numpy(
    kind: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    image, psf = counts(rng, shape) + 5, blurry_psf((8, 9, 10)[: len(shape)], 1.0)
    back = otfuse.psf.back_projector(psf, kind, alpha=0.05)
    expected = direct_loop(image.numpy(), psf.numpy(), back.numpy(), 5, 2.0)
    actual = otfuse.richardson_lucy(
        image, psf, 5, back_projector=back, boundary="circular", background=2.0
    )
    assert float((actual - torch.from_numpy(expected)).norm() / np.linalg.norm(expected)) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_loop_matches_reference(
    boundary: str, masked: bool, dtype: torch.dtype, rng: np.random.Generator
) -> None:
    for shape, extents in (((2, 14, 15), (6, 5)), ((6, 12, 14), (4, 5, 6))):
        image, psf = counts(rng, shape) + 5, blurry_psf(extents, 1.0)
        mask = torch.from_numpy(rng.random(shape) > 0.1) if masked else None
        for kind in ("wiener_butterworth", "gaussian"):
            options = {"boundary": boundary, "mask": mask, "background": 1.0}
            back = otfuse.psf.back_projector(psf, kind, alpha=0.05)
            actual = otfuse.richardson_lucy(
                image.to(dtype), psf.to(dtype), back_projector=back, **options
            )
            expected = reference.richardson_lucy(image, psf, back_projector=back, **options)
            assert_close(actual, expected, kind, factor=16)


def test_words_and_arrays_are_the_same(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (14, 15)) + 5, blurry_psf((6, 5), 1.0)
    for kind in KINDS[1:]:
        word = otfuse.richardson_lucy(image, psf, back_projector=kind)
        array = otfuse.psf.back_projector(psf, kind)
        assert_same(word, otfuse.richardson_lucy(image, psf, 2, back_projector=array), kind)
    plain = otfuse.richardson_lucy(image, psf)
    assert_same(otfuse.richardson_lucy(image, psf, back_projector="matched"), plain, "matched")


def test_the_forward_stays_exact(rng: np.random.Generator) -> None:
    """One iteration from where it starts: only the way back is another one."""
    psf = blurry_psf((6, 5), 1.0)
    image, start = counts(rng, (14, 15)) + 5, counts(rng, (14, 15)) + 5
    ratio = image / otfuse.fft_convolve(start, psf)
    for kind in KINDS[1:]:
        back = otfuse.psf.back_projector(psf, kind)
        correction = otfuse.fft_convolve(ratio, back / back.sum(), adjoint=True)
        actual = otfuse.richardson_lucy(
            image, psf, 1, back_projector=back, boundary="circular", init=start
        )
        assert_close(actual, (start * correction).clamp(min=1e-6 * image.mean()), kind, factor=8)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_truth_stays(boundary: str, masked: bool, rng: np.random.Generator) -> None:
    """What explains the image is left alone, near the edges and behind a mask too."""
    psf = blurry_psf((6, 5), 1.0)
    level = torch.full((14, 15), 7.0, dtype=torch.float64)
    mask = torch.from_numpy(rng.random(level.shape) > 0.3) if masked else None
    options = {"boundary": boundary, "mask": mask, "background": 2.0}
    for kind in KINDS[1:]:
        out = otfuse.richardson_lucy(level + 2, psf, 3, back_projector=kind, **options)
        assert_close(out, level, kind, factor=16)


def test_the_light_of_an_image_without_edges_stays(rng: np.random.Generator) -> None:
    """The field ends in the middle of things; no more light is found than there was."""
    psf = blurry_psf((9, 9), 1.5)
    wide = torch.from_numpy(rng.poisson(200 * rng.random((40, 40)) ** 4 + 20.0) + 0.0)
    image = otfuse.fft_convolve(wide, psf, boundary="extended")
    for n in (1, 2, 5):
        out = otfuse.richardson_lucy(image, psf, n, back_projector="wiener_butterworth")
        assert float(out.sum() / image.sum()) == pytest.approx(1, abs=0.05)


def test_the_pair_is_not_an_adjoint_but_each_is_exact(rng: np.random.Generator) -> None:
    psf = blurry_psf((6, 5), 1.0)
    back = otfuse.psf.back_projector(psf)
    x, u = (torch.from_numpy(rng.normal(size=(14, 15))) for _ in range(2))
    for kernel in (psf, back):
        forward = otfuse.fft_convolve(x, kernel)
        assert_adjoint(forward, u, x, otfuse.fft_convolve(u, kernel, adjoint=True), "kernel")
    crossed = otfuse.fft_convolve(u, back, adjoint=True)
    with pytest.raises(AssertionError):
        assert_adjoint(otfuse.fft_convolve(x, psf), u, x, crossed, "crossed")


def test_does_in_two_iterations_what_plain_takes_ten_for(rng: np.random.Generator) -> None:
    """The published gain, where the PSF passes nothing near the Nyquist frequency."""
    shape = (12, 48, 48)
    truth = torch.zeros(shape, dtype=torch.float64)
    for _ in range(40):
        z, y, x = (int(rng.integers(2, n - 2)) for n in shape)
        truth[z, y - 1 : y + 1, x : x + 2] += float(rng.random()) * 500
    psf = blurry_psf((7, 13, 13), 1.5)
    blurred = otfuse.fft_convolve(truth, psf, boundary="circular") + 2
    image = torch.from_numpy(rng.poisson(20 * blurred.numpy()) / 20.0)
    options = {"boundary": "circular", "background": 2.0}

    def error(result: torch.Tensor) -> float:
        smooth = otfuse.fft_convolve(result - truth, blurry_psf((5, 5, 5), 0.7))
        return float(smooth.norm())

    ours = min(
        error(otfuse.richardson_lucy(image, psf, n, back_projector="wiener_butterworth", **options))
        for n in (1, 2, 3)
    )
    plain = [error(otfuse.richardson_lucy(image, psf, n, **options)) for n in (1, 3, 5, 10)]
    assert plain == sorted(plain, reverse=True)
    assert ours < plain[-1]


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradients_match_reference(boundary: str, masked: bool, rng: np.random.Generator) -> None:
    shape, extents = (2, 8, 9), (4, 5)
    inputs = [counts(rng, shape) + 5, blurry_psf(extents, 1.0)]
    inputs += [otfuse.psf.back_projector(inputs[1], alpha=0.05), counts(rng, shape) + 5]
    inputs.append(torch.from_numpy(rng.random(shape)))
    mask = torch.from_numpy(rng.random(shape) > 0.1) if masked else None
    cotangent = torch.from_numpy(rng.normal(size=shape))
    grads = []
    for library in (otfuse, reference):
        leaves = [t.clone().requires_grad_() for t in inputs]
        out = library.richardson_lucy(
            *leaves[:2],
            3,
            back_projector=leaves[2],
            init=leaves[3],
            background=leaves[4],
            mask=mask,
            boundary=boundary,
        )
        grads.append(torch.autograd.grad(out, leaves, cotangent))
    for name, actual, expected in zip(
        ("image", "psf", "back_projector", "init", "background"), *grads, strict=True
    ):
        assert_close(actual, expected, f"grad_{name}", factor=256)


REJECTED = [
    ("shape", {"back_projector": torch.ones(3, 3)}, "back_projector must have the shape of psf"),
    ("unknown", {"back_projector": "wb"}, "back_projector must be one of"),
    ("momentum", {"back_projector": "wiener", "acceleration": "shb"}, "acceleration must be None"),
    ("stop", {"back_projector": "wiener", "stop": "idiv"}, "stop must be None"),
    ("too-many", {"back_projector": "wiener", "n_iters": 6}, "n_iters must be at most 5"),
    (
        "nan",
        {"back_projector": torch.full((4, 5), float("nan"), dtype=torch.float64)},
        "back_projector must be finite",
    ),
    (
        "dark",
        {"back_projector": -torch.ones(4, 5, dtype=torch.float64)},
        "back_projector must have a positive sum, got -20",
    ),
]


@pytest.mark.parametrize(
    ("options", "message"), [r[1:] for r in REJECTED], ids=[r[0] for r in REJECTED]
)
def test_rejects(options: dict, message: str, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=f"^richardson_lucy: {message}"):
        otfuse.richardson_lucy(counts(rng, (9, 9)), lopsided_psf(rng, (4, 5)), **options)


def test_force_allows_more(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (9, 9)) + 5, blurry_psf((4, 5), 1.0)
    out = otfuse.richardson_lucy(image, psf, 6, back_projector="gaussian", force=True)
    assert bool((out > 0).all())


PARAMETERS = [
    ({"kind": "guo"}, "kind must be one of"),
    ({"alpha": 0.0}, "alpha must be positive"),
    ({"beta": -1.0}, "beta must be positive"),
    ({"n": float("nan")}, "n must be finite"),
    ({"resolution": [1.0, 2.0, 3.0]}, "resolution must have 1 or 2 values"),
    ({"resolution": [1.0, -2.0]}, "resolution must be positive"),
    ({"beta": 50.0}, "beta must be at most"),
]


@pytest.mark.parametrize(("options", "message"), PARAMETERS, ids=[str(p[0]) for p in PARAMETERS])
def test_rejects_parameters(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^back_projector: {message}"):
        otfuse.psf.back_projector(blurry_psf((9, 9)), **options)


def test_rejects_a_bad_psf() -> None:
    with pytest.raises(ValueError, match="psf must not be negative"):
        otfuse.psf.back_projector(-blurry_psf((9, 9)))
    with pytest.raises(TypeError, match="psf must be real"):
        otfuse.psf.back_projector(torch.ones(3, 3, dtype=torch.complex64))
