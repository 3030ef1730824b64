# SPDX-License-Identifier: BSD-3-Clause
"""richardson_lucy with Biggs-Andrews acceleration and total variation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from conftest import OnDevice
from otfuse import reference
from samples import BOUNDARIES, SAMPLES, Sample, by_name, counts, image_of, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

VARIANTS: dict[str, dict] = {
    "biggs": {"acceleration": "biggs"},
    "tv": {"tv": 0.02},
    "shb-tv": {"acceleration": "shb", "tv": 0.02},
    "biggs-tv": {"acceleration": "biggs", "tv": 0.02},
}
N_ITERS = 5
# As in test_richardson_lucy, and the total variation divides by slopes, near 0 in places:
# 3.0e-13 was the worst in double precision.
GROWTH = 32 * N_ITERS


def voxel_of(ndim: int) -> tuple[float, ...]:
    """Edges of an anisotropic voxel."""
    return (0.3, 0.11, 0.13)[-ndim:]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_matches_reference(
    sample: Sample,
    boundary: str,
    variant: str,
    dtype: torch.dtype,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    image, psf = image_of(sample, rng, dtype) + 5, lopsided_psf(rng, sample.psf, dtype)
    options = {"boundary": boundary, "voxel": voxel_of(sample.ndim), **VARIANTS[variant]}
    run = on_device(otfuse.richardson_lucy)
    actual = run(image, psf, N_ITERS, ndim=sample.ndim, **options)
    expected = reference.richardson_lucy(
        image.double(), psf.double(), N_ITERS, ndim=sample.ndim, **options
    )
    assert_close(actual, expected, "estimate", factor=GROWTH)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sample", SAMPLES[::3], ids=by_name)
def test_every_simd_level(
    sample: Sample, variant: str, simd_level: str, rng: np.random.Generator
) -> None:
    image, psf = image_of(sample, rng) + 5, lopsided_psf(rng, sample.psf)
    mask = torch.from_numpy(rng.random(image.shape) > 0.1)
    for boundary in BOUNDARIES:
        options = {"boundary": boundary, "mask": mask, **VARIANTS[variant]}
        actual = otfuse.richardson_lucy(image, psf, N_ITERS, ndim=sample.ndim, **options)
        expected = reference.richardson_lucy(image, psf, N_ITERS, ndim=sample.ndim, **options)
        assert_close(actual, expected, f"{simd_level} {boundary}", factor=GROWTH)


def numpy_divisor(x: np.ndarray, tv: float, voxel: tuple[float, ...], flat: float) -> np.ndarray:
    """1 - tv div(grad x / |grad x|) of a periodic array, at least 0.1."""
    steps = [(np.roll(x, -1, a) - x) / d for a, d in enumerate(voxel)]
    slope = np.sqrt(sum(g**2 for g in steps) + flat**2)
    divergence = np.zeros_like(x)
    for a, (g, d) in enumerate(zip(steps, voxel, strict=True)):
        divergence += (g / slope - np.roll(g / slope, 1, a)) / d
    return np.maximum(1 - tv * divergence, 0.1)


def numpy_loop(
    image: np.ndarray,
    psf: np.ndarray,
    acceleration: str | None,
    tv: float,
    background: np.ndarray,
    share: float = 0.5,
) -> np.ndarray:
    """Five periodic iterations, each line that of the definition."""
    pads = [(0, n - k) for n, k in zip(image.shape, psf.shape, strict=True)]
    shifts = [-(k // 2) for k in psf.shape]
    otf = np.fft.fftn(np.roll(np.pad(psf, pads), shifts, range(psf.ndim)))
    floor, voxel = 1e-6 * image.mean(), voxel_of(image.ndim)
    x = last = np.full(image.shape, image.mean() - background.mean())
    changes: list[np.ndarray] = []
    for k in range(1, N_ITERS + 1):
        step = 0.0
        if acceleration == "shb":
            step = (k - 1) / (k + 2)
        elif acceleration == "biggs" and len(changes) > 1:
            now, before = changes[-1], changes[-2]
            step = min(max((now * before).sum() / (before**2).sum(), 0), 1)
        p = x
        if acceleration is not None:
            p = np.maximum(np.maximum(x + step * (x - last), share * x), floor)
        model = np.maximum(np.fft.ifftn(np.fft.fftn(p) * otf).real + background, floor)
        correction = np.fft.ifftn(np.fft.fftn(image / model) * otf.conj()).real
        divisor = numpy_divisor(x, tv, voxel, 1e3 * floor) if tv else 1.0
        last, x = x, p * correction / divisor
        changes.append(x - p)
    return x


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(14, 33), (5, 35, 12)], ids=by_name)
def test_five_iterations_in_numpy(
    variant: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    image, psf = counts(rng, shape) + 5, lopsided_psf(rng, (3, 4, 5)[: len(shape)])
    background = rng.random(shape)
    options = {"acceleration": None, "tv": 0.0, **VARIANTS[variant]}
    expected = numpy_loop(image.numpy(), psf.numpy(), **options, background=background)
    actual = otfuse.richardson_lucy(
        image,
        psf,
        N_ITERS,
        boundary="circular",
        background=background,
        voxel=voxel_of(len(shape)),
        **options,
    )
    assert np.linalg.norm(actual.numpy() - expected) < 1e-10 * np.linalg.norm(expected)


@pytest.mark.parametrize("acceleration", ["shb", "biggs"])
def test_momentum_takes_half_at_most(acceleration: str, rng: np.random.Generator) -> None:
    """In the dark a point lies at half the estimate or above; its gradient is that of a half."""
    shape = (14, 33)
    psf = lopsided_psf(rng, (3, 4))
    bright = torch.from_numpy((rng.random(shape) > 0.97) * 100.0)
    image = otfuse.fft_convolve(bright, psf).clamp(min=0) + 1e-3
    options = {"acceleration": acceleration, "tv": 0.0, "background": np.zeros(shape)}
    expected = numpy_loop(image.numpy(), psf.numpy(), **options)
    further = numpy_loop(image.numpy(), psf.numpy(), share=0.0, **options)
    assert np.linalg.norm(further - expected) > 1e-3 * np.linalg.norm(expected)
    gradients = []
    for library in (otfuse, reference):
        given = image.clone().requires_grad_()
        out = library.richardson_lucy(
            given, psf, N_ITERS, boundary="circular", acceleration=acceleration
        )
        assert np.linalg.norm(out.detach().numpy() - expected) < 1e-10 * np.linalg.norm(expected)
        gradients += torch.autograd.grad(out.square().sum(), given)
    ours, theirs = gradients  # what is dark 1e5 times over magnifies rounding: 8e-12
    assert float((ours - theirs).norm()) < 1e-10 * float(theirs.norm())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_chunks_do_not_matter(boundary: str, variant: str, rng: np.random.Generator) -> None:
    """A callback cuts the run: what it goes on from is all there is."""
    image, psf = counts(rng, (2, 12, 13), torch.float32) + 5, lopsided_psf(rng, (4, 3))
    options = {"boundary": boundary, "background": 1.0, **VARIANTS[variant]}
    whole = otfuse.richardson_lucy(image, psf, 12, **options)
    told: list[torch.Tensor] = []
    parts = otfuse.richardson_lucy(
        image, psf, 12, callback=lambda i, info: told.append(info.estimate), **options
    )
    after = otfuse.richardson_lucy(image, psf, 5, **options)
    if "tv" in options:  # compiled once for the last iteration, once for those before: rounding
        assert_close(parts, whole, "in chunks", factor=GROWTH)
        assert_close(told[0], after, "after 5", factor=GROWTH)
    else:
        assert_same(parts, whole, "in chunks")
        assert_same(told[0], after, "after 5")


@pytest.mark.parametrize("variant", VARIANTS)
def test_threads_do_not_matter(variant: str, set_threads: object, rng: np.random.Generator) -> None:
    for shape, extents in (((300, 250), (9, 8)), ((20, 48, 40), (4, 5, 6)), ((5, 96, 80), (7, 6))):
        image, psf = counts(rng, shape, torch.float32) + 5, lopsided_psf(rng, extents)
        runs = []
        for n in (1, 2, 3):
            set_threads(n)
            runs.append(otfuse.richardson_lucy(image, psf, N_ITERS, **VARIANTS[variant]))
        for n, run in enumerate(runs[1:], 2):
            assert_same(run, runs[0], f"{n} threads")


def test_an_estimate_larger_than_the_caches(
    simd_level: str, set_threads: object, rng: np.random.Generator
) -> None:
    """Total variation then writes past them."""
    image, psf = counts(rng, (16, 130, 144)) + 5, lopsided_psf(rng, (2, 3, 4))
    expected = reference.richardson_lucy(image, psf, 3, tv=0.02)
    for n in (1, 2):
        set_threads(n)
        actual = otfuse.richardson_lucy(image, psf, 3, tv=0.02)
        assert_close(actual, expected, f"{simd_level}, {n} threads", factor=GROWTH)


def test_biggs_is_faster_than_plain(rng: np.random.Generator) -> None:
    """Its divergence after 10 iterations is below that of 30 plain ones."""
    image, psf = counts(rng, (40, 41)) + 5, lopsided_psf(rng, (5, 6))
    told: dict[str | None, torch.Tensor] = {}
    for acceleration in (None, "biggs"):
        otfuse.richardson_lucy(
            image,
            psf,
            30,
            acceleration=acceleration,
            callback=lambda i, info, a=acceleration: told.update({a: info.i_divergence}),
        )
    assert float(told["biggs"][10]) < float(told[None][29])


def test_total_variation_smooths_noise_and_keeps_edges(rng: np.random.Generator) -> None:
    truth = torch.full((48, 48), 20.0, dtype=torch.float64)
    truth[12:36, 12:36] = 200
    psf = lopsided_psf(rng, (5, 5))
    blurred = otfuse.fft_convolve(truth, psf)
    image = torch.from_numpy(rng.poisson(blurred.numpy()).astype(float))
    options = {"boundary": "circular", "acceleration": "shb"}
    plain = otfuse.richardson_lucy(image, psf, 40, **options)
    smooth = otfuse.richardson_lucy(image, psf, 40, tv=0.02, **options)
    inner = (slice(18, 30),) * 2
    assert float(smooth[inner].std()) < 0.7 * float(plain[inner].std())
    assert float((smooth - truth).norm()) < 0.9 * float((plain - truth).norm())
    assert float(smooth[inner].mean() / smooth[:8].mean()) > 8


def test_units_of_the_total_variation(rng: np.random.Generator) -> None:
    """A length in micrometres and the voxels in them are the same as both in voxels."""
    image, psf = counts(rng, (12, 13)) + 5, lopsided_psf(rng, (4, 3))
    in_voxels = otfuse.richardson_lucy(image, psf, 5, tv=0.02)
    one = 0.1  # the smoothing of slopes near 0 is not scaled along: hence the tolerance
    in_lengths = otfuse.richardson_lucy(image, psf, 5, tv=0.02 * one, voxel=(one, one))
    assert float((in_voxels - in_lengths).norm() / in_voxels.norm()) < 1e-4


REJECTED = [
    ("tv-negative", {"tv": -0.1}, ValueError, "tv must not be negative, got -0.1"),
    ("tv-nan", {"tv": float("nan")}, ValueError, "tv must be finite"),
    ("tv-text", {"tv": "much"}, TypeError, "tv must be a number"),
    ("voxel-count", {"voxel": (1.0,)}, ValueError, "voxel must have 2 positive edges"),
    ("voxel-number", {"voxel": 3.0}, TypeError, "voxel must have 2 positive edges, got the number"),
    ("voxel-zero", {"voxel": (1.0, 0.0)}, ValueError, "voxel must have 2 positive edges"),
    ("offset", {"offset": float("nan")}, ValueError, "offset must be finite"),
    ("background-word", {"background": "none"}, ValueError, "background must be one of 'auto'"),
    ("background-list", {"background": [1.0]}, TypeError, "background must be a number"),
    (
        "background-shape",
        {"background": np.ones((9, 8))},
        ValueError,
        "background must broadcast against the image",
    ),
    (
        "background-negative",
        {"background": -np.ones((9, 9))},
        ValueError,
        "background must not be negative",
    ),
    ("mask-all", {"mask": np.zeros((9, 9))}, ValueError, "mask must leave some pixels"),
]


@pytest.mark.parametrize(
    ("options", "error", "message"), [r[1:] for r in REJECTED], ids=[r[0] for r in REJECTED]
)
def test_rejects(
    options: dict, error: type[Exception], message: str, rng: np.random.Generator
) -> None:
    with pytest.raises(error, match=f"^richardson_lucy: {message}"):
        otfuse.richardson_lucy(counts(rng, (9, 9)), lopsided_psf(rng, (4, 5)), 2, **options)
