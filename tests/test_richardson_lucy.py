# SPDX-License-Identifier: BSD-3-Clause
"""richardson_lucy against the reference, its invariants, and how a run is watched and ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from conftest import OnDevice
from otfuse import reference
from samples import BOUNDARIES, SAMPLES, Sample, by_name, counts, image_of, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

DTYPES = [torch.float32, torch.float64]
ACCELERATIONS = [None, "shb"]
N_ITERS = 4
# Each iteration divides by its reblurred estimate, which carries the rounding of those before.
GROWTH = 2 * N_ITERS


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("acceleration", ACCELERATIONS, ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_matches_reference(
    sample: Sample,
    boundary: str,
    acceleration: str | None,
    dtype: torch.dtype,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    image, psf = image_of(sample, rng, dtype), 3 * lopsided_psf(rng, sample.psf, dtype)
    options = {"boundary": boundary, "acceleration": acceleration}
    actual = on_device(otfuse.richardson_lucy)(image, psf, N_ITERS, **options)
    expected = reference.richardson_lucy(image.double(), psf.double(), N_ITERS, **options)
    assert actual.dtype == dtype
    assert_close(actual, expected, "estimate", factor=GROWTH)


@pytest.mark.parametrize("background", [0.0, 3.0])
@pytest.mark.parametrize("init", ["mean", "image", "array"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("acceleration", ACCELERATIONS, ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    "sample",
    [Sample("2d", (9, 11), (4, 3), batch=(2,)), Sample("3d", (5, 8, 9), (3, 2, 4))],
    ids=by_name,
)
def test_options_match_reference(
    sample: Sample,
    boundary: str,
    acceleration: str | None,
    masked: bool,
    init: str,
    background: float,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    image, psf = image_of(sample, rng), lopsided_psf(rng, sample.psf)
    first = torch.from_numpy(rng.random(sample.image)) * 20 if init == "array" else init
    mask = torch.from_numpy(rng.random(sample.image) > 0.2) if masked else None
    told: dict[object, torch.Tensor] = {}
    results = {}
    runs = {otfuse: on_device(otfuse.richardson_lucy), reference: reference.richardson_lucy}
    for library, run in runs.items():
        results[library] = run(
            image,
            psf,
            N_ITERS,
            background=background,
            boundary=boundary,
            acceleration=acceleration,
            mask=mask,
            init=first,
            callback=lambda i, info, at=library: told.update({at: info.i_divergence}),
        )
    assert_close(results[otfuse], results[reference], "estimate", factor=GROWTH)
    assert told[otfuse].shape == (*sample.batch, N_ITERS)
    assert_close(told[otfuse], told[reference], "I-divergence", factor=GROWTH)


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_every_simd_level(
    sample: Sample, dtype: torch.dtype, simd_level: str, rng: np.random.Generator
) -> None:
    image, psf = image_of(sample, rng, dtype), lopsided_psf(rng, sample.psf, dtype)
    mask = torch.from_numpy(rng.random(image.shape) > 0.1)
    for boundary in BOUNDARIES:
        options = {"boundary": boundary, "acceleration": "shb", "mask": mask}
        actual = otfuse.richardson_lucy(image, psf, N_ITERS, **options)
        expected = reference.richardson_lucy(image.double(), psf.double(), N_ITERS, **options)
        assert_close(actual, expected, f"{simd_level} {boundary}", factor=GROWTH)


THREADED = [
    Sample("2d", (96, 80), (7, 6), batch=(5,)),
    Sample("2d-odd", (97, 45), (7, 6), batch=(3,)),
    Sample("2d-large", (300, 250), (9, 8)),
    Sample("3d", (20, 48, 40), (4, 5, 6)),
    Sample("3d-odd", (21, 33, 35), (4, 5, 6), batch=(2,)),
]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", THREADED, ids=by_name)
def test_threads_do_not_matter(
    sample: Sample, boundary: str, set_threads: object, rng: np.random.Generator
) -> None:
    image, psf = image_of(sample, rng, torch.float32), lopsided_psf(rng, sample.psf)
    runs = []
    for n in (1, 2, 3):
        set_threads(n)
        told: list[torch.Tensor] = []
        estimate = otfuse.richardson_lucy(
            image,
            psf,
            N_ITERS,
            boundary=boundary,
            acceleration="shb",
            callback=lambda i, info, told=told: told.append(info.i_divergence),
        )
        runs.append((estimate, told[-1]))
    for n, (estimate, divergence) in enumerate(runs[1:], 2):
        assert_same(estimate, runs[0][0], f"estimate, {n} threads")
        assert_same(divergence, runs[0][1], f"I-divergence, {n} threads")


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", THREADED, ids=by_name)
def test_batch_size_does_not_matter(
    sample: Sample, boundary: str, rng: np.random.Generator
) -> None:
    psf = lopsided_psf(rng, sample.psf)
    images = image_of(Sample("batch", sample.image, sample.psf, (4,)), rng, torch.float32)
    images[1] *= 100
    whole = otfuse.richardson_lucy(images, psf, N_ITERS, boundary=boundary, acceleration="shb")
    for i in range(4):
        alone = otfuse.richardson_lucy(
            images[i], psf, N_ITERS, boundary=boundary, acceleration="shb"
        )
        assert_same(alone, whole[i], f"item {i}")


def test_psf_per_channel(rng: np.random.Generator, on_device: OnDevice) -> None:
    image = counts(rng, (2, 3, 9, 10))
    psf = torch.stack([lopsided_psf(rng, (3, 4)) for _ in range(3)])
    for boundary in BOUNDARIES:
        run = on_device(otfuse.richardson_lucy)
        actual = run(image, psf, N_ITERS, boundary=boundary, ndim=2)
        for i, j in np.ndindex(2, 3):
            alone = reference.richardson_lucy(image[i, j], psf[j], N_ITERS, boundary=boundary)
            assert_close(actual[i, j], alone, f"item {i}, channel {j}", factor=GROWTH)


@pytest.mark.parametrize(
    ("shape", "extents"),
    [((15, 16), (4, 3)), ((13, 11), (3, 4)), ((6, 9, 10), (3, 4, 2))],
    ids=by_name,
)
def test_invariants(
    shape: tuple[int, ...],
    extents: tuple[int, ...],
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    """Periodic, no background, no momentum: flux kept, never negative, divergence never rises."""
    image, psf = counts(rng, shape), lopsided_psf(rng, extents)
    told: list[torch.Tensor] = []
    estimate = on_device(otfuse.richardson_lucy)(
        image, psf, 30, boundary="circular", callback=lambda i, info: told.append(info.i_divergence)
    )
    assert float(estimate.min()) >= 0
    assert float(estimate.sum()) == pytest.approx(float(image.sum()), rel=1e-5)
    falls = told[-1].diff()
    assert told[-1].shape == (30,)
    assert float(falls.max()) <= 1e-9 * float(told[-1][0])
    assert float(told[-1][-1]) < float(told[-1][0])


@pytest.mark.parametrize("acceleration", ACCELERATIONS, ids=["plain", "shb"])
@pytest.mark.parametrize("shape", [(15, 16), (13, 11), (4, 9, 10)], ids=by_name)
def test_shift_equivariance(
    shape: tuple[int, ...], acceleration: str | None, rng: np.random.Generator
) -> None:
    image, psf = counts(rng, shape), lopsided_psf(rng, (4, 3, 2)[: len(shape)])
    shifts, dims = (3, -2, 5)[: len(shape)], tuple(range(len(shape)))
    options = {"boundary": "circular", "acceleration": acceleration}
    moved = otfuse.richardson_lucy(image.roll(shifts, dims), psf, 10, **options)
    still = otfuse.richardson_lucy(image, psf, 10, **options)
    assert_close(moved, still.roll(shifts, dims), "shifted", factor=20)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_masked_values_do_not_matter(boundary: str, rng: np.random.Generator) -> None:
    image, psf = counts(rng, (12, 13), torch.float32), lopsided_psf(rng, (4, 3))
    mask = torch.from_numpy(rng.random((12, 13)) > 0.1)
    saturated = torch.where(mask, image, 65535.0)
    options = {"boundary": boundary, "acceleration": "shb", "mask": mask}
    expected = otfuse.richardson_lucy(image, psf, 6, **options)
    assert_same(otfuse.richardson_lucy(saturated, psf, 6, **options), expected, "saturated")


def test_scikit_image_agrees(rng: np.random.Generator) -> None:
    """Far from the edges, which are treated differently, the definitions are the same."""
    restoration = pytest.importorskip("skimage.restoration")
    n_iters, reach = 5, 2
    image, psf = counts(rng, (64, 66)) + 1, lopsided_psf(rng, (5, 5))
    theirs = restoration.richardson_lucy(image.numpy(), psf.numpy(), num_iter=n_iters, clip=False)
    start = np.full(image.shape, 0.5)
    ours = otfuse.richardson_lucy(image, psf, n_iters, boundary="circular", init=start)
    inner = (slice(2 * reach * n_iters, -2 * reach * n_iters),) * 2
    assert_close(ours[inner], theirs[inner], "interior", factor=1e4)  # theirs adds 1e-12


def test_counts_with_a_float64_psf(rng: np.random.Generator) -> None:
    image = counts(rng, (12, 13)).numpy().astype(np.uint16)
    psf = lopsided_psf(rng, (4, 3)).numpy()
    out = otfuse.richardson_lucy(image, psf, N_ITERS)
    assert type(out) is np.ndarray
    assert out.dtype == np.float32
    same = otfuse.richardson_lucy(image.astype(np.float32), psf.astype(np.float32), N_ITERS)
    assert_same(out, same, "uint16")
    assert_close(out, reference.richardson_lucy(image, psf, N_ITERS), "uint16", factor=GROWTH)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", ">f4", "float64"])
def test_psf_of_any_type(dtype: str, rng: np.random.Generator) -> None:
    """As files hold them; the PSF takes the type of the image."""
    image = counts(rng, (12, 13)).numpy().astype(np.float32)
    psf = np.round(200 * lopsided_psf(rng, (4, 3)).numpy()).astype(dtype)
    same = otfuse.richardson_lucy(image, psf.astype(np.float32), N_ITERS)
    assert_same(otfuse.richardson_lucy(image, psf, N_ITERS), same, dtype)
    blurred = otfuse.fft_convolve(image, psf.astype(np.float32))
    assert_same(otfuse.fft_convolve(image, psf), blurred, dtype)


def test_an_empty_image_stays_empty(rng: np.random.Generator) -> None:
    image = counts(rng, (3, 12, 13))
    image[1] = 0
    for acceleration in ACCELERATIONS:
        out = otfuse.richardson_lucy(
            image, lopsided_psf(rng, (4, 3)), N_ITERS, acceleration=acceleration
        )
        assert bool(torch.isfinite(out).all())
        assert float(out[1].abs().max()) <= 1e-5


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_callback_sees_the_run(boundary: str, rng: np.random.Generator) -> None:
    image, psf = counts(rng, (2, 12, 13), torch.float32), lopsided_psf(rng, (4, 3))
    told: list[tuple[int, object]] = []
    options = {"boundary": boundary, "acceleration": "shb", "background": 1.0}
    out = otfuse.richardson_lucy(
        image, psf, 12, **options, callback=lambda i, info: told.append((i, info))
    )
    assert [i for i, _ in told] == [5, 10, 12]
    assert_same(out, otfuse.richardson_lucy(image, psf, 12, **options), "watched")
    for i, info in told:
        assert info.n_iters == 12
        assert info.i_divergence.shape == (2, i)
        after = otfuse.richardson_lucy(image, psf, i, **options)
        assert_same(info.estimate, after, f"estimate after {i}")


def test_callback_ends_the_run(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (12, 13), torch.float32).numpy(), lopsided_psf(rng, (4, 3))
    told: list[int] = []

    def enough(i: int, info: object) -> bool:
        assert type(info.estimate) is np.ndarray
        told.append(i)
        return i >= 10

    out = otfuse.richardson_lucy(image, psf, 50, callback=enough)
    assert told == [5, 10]
    assert_same(out, otfuse.richardson_lucy(image, psf, 10), "ended")

    def fail(i: int, info: object) -> None:
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        otfuse.richardson_lucy(image, psf, 50, callback=fail)


def test_stop_when_the_divergence_is_flat(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (12, 13)), lopsided_psf(rng, (4, 3))
    told: list[torch.Tensor] = []
    out = otfuse.richardson_lucy(
        image, psf, 5000, stop="idiv", callback=lambda i, info: told.append(info.i_divergence)
    )
    divergence = told[-1]
    done = len(divergence)
    assert done < 5000
    falls = [float(1 - divergence[i] / divergence[i - 5]) / 5 for i in range(9, done, 5)]
    assert falls[-1] < 1e-4 <= min(falls[:-1])
    assert_same(out, otfuse.richardson_lucy(image, psf, done), "stopped")


RUN_FOREVER = """
import signal, torch, otfuse
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job's child ignores
image, psf = torch.ones({shape}), torch.ones({psf})
otfuse.richardson_lucy(image, psf, 1)
print("ready", flush=True)
otfuse.richardson_lucy(image, psf, 100_000_000, {options})
"""


@pytest.mark.parametrize(
    ("shape", "psf", "options"),
    [
        ((128, 128), (5, 5), ""),
        ((64, 128, 128), (9, 9, 9), ""),
        ((128, 128), (5, 5), "callback=lambda i, info: None"),
    ],
    ids=["2d", "3d", "callback"],
)
def test_ctrl_c_ends_the_run(shape: tuple[int, ...], psf: tuple[int, ...], options: str) -> None:
    script = RUN_FOREVER.format(shape=shape, psf=psf, options=options)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            time.sleep(0.3)
            assert process.poll() is None, process.stderr.read()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in errors
