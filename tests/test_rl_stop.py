# SPDX-License-Identifier: BSD-3-Clause
"""The rules that end a Richardson-Lucy run by photons: held out, or in consensus."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from otfuse import reference
from samples import BOUNDARIES, counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

RULES = ["held_out", "gradient_consensus"]


def blobs(shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    """Bright spots, two or three voxels wide, on a dim ground."""
    points = torch.from_numpy((rng.random(shape) > 0.985) * rng.random(shape))
    return 0.01 + otfuse.fft_convolve(points, blurry_psf((7, 7), 1.0)).clamp(min=0)


def blurry_psf(shape: tuple[int, ...], width: float) -> torch.Tensor:
    """A Gaussian that equals none of its mirror images."""
    places = np.meshgrid(*[np.arange(k) - k // 2 for k in shape], indexing="ij")
    light = np.exp(-sum((p / (width + 0.2 * i)) ** 2 for i, p in enumerate(places)) / 2)
    light *= 1 + 0.3 * np.tanh(places[-1])
    return torch.from_numpy(light / light.sum())


def seen(
    peak: float, rng: np.random.Generator, gain: float = 1.0, offset: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Truth in counts, psf, and an image of `peak` photons at its brightest."""
    truth, psf = blobs((64, 72), rng), blurry_psf((9, 8), 1.4)
    blurred = otfuse.fft_convolve(truth, psf)
    scale = peak / float(blurred.max())
    photons = rng.poisson((scale * blurred).clamp(min=0).numpy()).astype(float)
    return gain * scale * truth, psf, torch.from_numpy(gain * photons + offset)


def count_of(image: torch.Tensor, psf: torch.Tensor, **options: object) -> int:
    """How many iterations the held-out photons asked for."""
    told: list[int] = []
    otfuse.richardson_lucy(
        image, psf, stop="held_out", callback=lambda i, info: told.append(i), **options
    )
    return told[-1]


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_matches_reference(
    boundary: str, rule: str, masked: bool, rng: np.random.Generator
) -> None:
    for shape, extents in (((2, 14, 15), (6, 5)), ((6, 12, 14), (3, 4, 5))):
        image, psf = 3 * counts(rng, shape).round() + 20, lopsided_psf(rng, extents)
        options = {
            "boundary": boundary,
            "mask": torch.from_numpy(rng.random(shape) > 0.1) if masked else None,
            "background": 21.0,
            "stop": rule,
            "gain": 3.0,
            "offset": 20.0,
            "seed": 5,
        }
        for acceleration in (None,) if rule == "gradient_consensus" else (None, "shb", "biggs"):
            results = [
                library.richardson_lucy(image, psf, 12, acceleration=acceleration, **options)
                for library in (otfuse, reference)
            ]
            assert_close(*results, f"{rule} {acceleration}", factor=512)


def test_held_out_in_numpy(rng: np.random.Generator) -> None:
    """Its number of iterations, from trials written out in numpy; then the run is a plain one."""
    gain, offset, background = 2.0, 10.0, 11.0
    _, psf, image = seen(60, rng, gain, offset)
    image = image + 1
    generator = torch.Generator().manual_seed(7)
    photons = ((image - offset) / gain).round()
    kept = torch.binomial(photons, torch.full_like(photons, 0.5), generator)
    halves = [(2 * gain * part).numpy() for part in (kept, photons - kept)]
    pads = [(0, n - k) for n, k in zip(image.shape, psf.shape, strict=True)]
    shifts = [-(k // 2) for k in psf.shape]
    otf = np.fft.fftn(np.roll(np.pad(psf.numpy(), pads), shifts, (0, 1)))
    level = float(image.mean()) - background

    def estimates(y: np.ndarray, n_iters: int, accelerated: bool) -> list[np.ndarray]:
        found = [np.full(y.shape, level)] * 2
        for k in range(1, n_iters + 1):
            x, last = found[-1], found[-2]
            p = np.maximum(x + (k - 1) / (k + 2) * (x - last), x / 2) if accelerated else x
            model = np.fft.ifftn(np.fft.fftn(p) * otf).real + background - offset
            found.append(p * np.fft.ifftn(np.fft.fftn(y / model) * otf.conj()).real)
        return found[1:]

    fast = [estimates(y, 50, True) for y in halves]
    late_a, late_b = (2 * found[50] - found[25] for found in fast)
    a, b = (estimates(y, 60, False) for y in halves)
    looks = [*range(1, 15), 16, 18, 20, 22, 25, 28, 32, 36, 41, 46, 52, 59, 60]
    alike = [
        ((a[k] * late_b).sum() + (b[k] * late_a).sum()) / np.linalg.norm(a[k] + b[k]) for k in looks
    ]
    best = looks[int(np.argmax(alike))]
    assert 3 < best < 50
    options = {"background": background, "boundary": "circular"}
    camera = {"gain": gain, "offset": offset, "seed": 7, "n_iters": 60}
    assert count_of(image, psf, **options, **camera) == best
    stopped = otfuse.richardson_lucy(image, psf, stop="held_out", **options, **camera)
    plain = otfuse.richardson_lucy(image, psf, best, offset=offset, **options)
    assert float((stopped - plain).norm() / plain.norm()) < 1e-10


@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize("peak", [20, 100])
def test_held_out_is_near_the_best(
    peak: float, acceleration: str | None, rng: np.random.Generator
) -> None:
    """Within 1 dB, on an image of few pixels; running on would have cost more."""
    truth, psf, image = seen(peak, rng)
    options = {"boundary": "circular", "acceleration": acceleration}
    errors: list[float] = []
    otfuse.richardson_lucy(
        image,
        psf,
        120,
        callback=lambda i, info: errors.append(float((info.estimate - truth).norm())),
        callback_every=1,
        **options,
    )
    ours = otfuse.richardson_lucy(image, psf, 120, stop="held_out", gain=1.0, offset=0.0, **options)
    assert float((ours - truth).norm()) < 10 ** (1 / 20) * min(errors)
    assert errors[-1] > 10 ** (2 / 20) * min(errors)


def test_more_photons_bear_more_iterations() -> None:
    numbers = [
        count_of(*seen(peak, np.random.default_rng(1))[:0:-1], n_iters=200, gain=1.0, offset=0.0)
        for peak in (5, 50, 500)
    ]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]


def test_gain_and_offset_are_those_of_the_camera() -> None:
    """The same photons through another camera ask for the same number."""
    _, psf, image = seen(60, np.random.default_rng(1))
    one = count_of(image, psf, n_iters=60, gain=1.0, offset=0.0)
    scaled = count_of(2.5 * image, psf, n_iters=60, gain=2.5, offset=0.0)
    assert one == scaled


def test_the_seed_says_which_photons() -> None:
    _, psf, image = seen(60, np.random.default_rng(1))
    options = {"stop": "gradient_consensus", "gain": 1.0, "offset": 0.0}
    first, again, other = (
        otfuse.richardson_lucy(image, psf, 10, seed=seed, **options) for seed in (1, 1, 2)
    )
    assert_same(first, again, "seed 1")
    assert not torch.equal(first, other)


def test_consensus_in_numpy(rng: np.random.Generator) -> None:
    """Five iterations, each line that of the definition."""
    _, psf, image = seen(60, rng)
    generator = torch.Generator().manual_seed(0)
    kept = torch.binomial(image, torch.full_like(image, 0.5), generator)
    parts = [2 * kept.numpy(), 2 * (image - kept).numpy()]
    pads = [(0, n - k) for n, k in zip(image.shape, psf.shape, strict=True)]
    shifts = [-(k // 2) for k in psf.shape]
    otf = np.fft.fftn(np.roll(np.pad(psf.numpy(), pads), shifts, (0, 1)))

    def through(array: np.ndarray, transfer: np.ndarray) -> np.ndarray:
        return np.fft.ifftn(np.fft.fftn(array) * transfer).real

    x = np.full(image.shape, float(image.mean()))
    for _ in range(5):
        model = np.maximum(through(x, otf), 1e-6 * float(image.mean()))
        one, two = (np.maximum(through(part / model, otf.conj()), 0) for part in parts)
        agreed = through((one - 1) * (two - 1), np.abs(otf) ** 2) > 0
        x = np.where(agreed, x * (one + two) / 2, x)
    actual = otfuse.richardson_lucy(
        image, psf, 5, boundary="circular", stop="gradient_consensus", gain=1.0, offset=0.0
    )
    assert np.linalg.norm(actual.numpy() - x) < 1e-10 * np.linalg.norm(x)


def test_consensus_spares_the_image_from_its_noise(rng: np.random.Generator) -> None:
    truth, psf, image = seen(20, rng)
    options = {"boundary": "circular"}
    plain = otfuse.richardson_lucy(image, psf, 300, **options)
    told: list[int] = []
    ours = otfuse.richardson_lucy(
        image,
        psf,
        300,
        stop="gradient_consensus",
        gain=1.0,
        offset=0.0,
        callback=lambda i, info: told.append(i),
        **options,
    )
    assert float((ours - truth).norm()) < 0.9 * float((plain - truth).norm())
    assert told == list(range(5, told[-1] + 1, 5))
    camera = {"stop": "gradient_consensus", "gain": 1.0, "offset": 0.0}
    alone = otfuse.richardson_lucy(image, psf, 300, **camera, **options)
    assert_same(alone, ours, "without a look at it")


def test_callback_ends_a_consensus(rng: np.random.Generator) -> None:
    _, psf, image = seen(60, rng)
    camera = {"gain": 1.0, "offset": 0.0, "stop": "gradient_consensus"}
    ended = otfuse.richardson_lucy(image, psf, 50, callback=lambda i, info: i >= 10, **camera)
    assert_same(ended, otfuse.richardson_lucy(image, psf, 10, **camera), "ended")


def test_gradients_of_a_stopped_run(rng: np.random.Generator) -> None:
    """Those of the iterations that were run; the number of them is a constant."""
    image, psf = (counts(rng, (9, 10)) + 5).requires_grad_(), lopsided_psf(rng, (3, 4))
    camera = {"gain": 1.0, "offset": 0.0}
    n = count_of(image, psf, n_iters=40, **camera)
    stopped = otfuse.richardson_lucy(image, psf, 40, stop="held_out", **camera)
    (actual,) = torch.autograd.grad(stopped.square().sum(), image)
    (expected,) = torch.autograd.grad(otfuse.richardson_lucy(image, psf, n).square().sum(), image)
    assert_close(actual, expected, "grad_image", factor=64)


def test_a_consensus_is_differentiable_in_the_psf_alone(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (5, 6)) + 5, lopsided_psf(rng, (3, 2)).requires_grad_()
    camera = {"gain": 1.0, "offset": 0.0, "stop": "gradient_consensus"}
    assert torch.autograd.gradcheck(lambda h: otfuse.richardson_lucy(image, h, 4, **camera), (psf,))
    with pytest.raises(ValueError, match=r"^richardson_lucy: image must not require gradients"):
        otfuse.richardson_lucy(image.requires_grad_(), psf, 4, **camera)


REJECTED = [
    ("gain", {"stop": "held_out", "offset": 0.0}, "gain= and offset=, got no gain"),
    ("offset", {"stop": "gradient_consensus", "gain": 1.0}, "gain= and offset=, got no offset"),
    ("zero", {"stop": "held_out", "gain": 0.0, "offset": 0.0}, "gain must be positive, got 0"),
    ("nan", {"stop": "held_out", "gain": 1.0, "offset": float("nan")}, "offset must be finite"),
    (
        "momentum",
        {"stop": "gradient_consensus", "gain": 1.0, "offset": 0.0, "acceleration": "shb"},
        "must go with plain iterations",
    ),
    (
        "tv",
        {"stop": "gradient_consensus", "gain": 1.0, "offset": 0.0, "tv": 0.1},
        "must go with plain iterations",
    ),
]


@pytest.mark.parametrize(
    ("options", "message"), [r[1:] for r in REJECTED], ids=[r[0] for r in REJECTED]
)
def test_rejects(options: dict, message: str, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=f"^richardson_lucy: .*{message}"):
        otfuse.richardson_lucy(counts(rng, (9, 9)), lopsided_psf(rng, (4, 5)), 2, **options)
