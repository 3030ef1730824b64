# SPDX-License-Identifier: BSD-3-Clause
"""The ops on a CUDA device: answers, derivatives, streams, graphs, memory, other libraries."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_adjoint, assert_close, assert_same
from otfuse import reference
from samples import BOUNDARIES, SAMPLES, Sample, by_name, counts, image_of, lopsided_psf

importlib.import_module("otfuse.ops")

pytestmark = pytest.mark.cuda

DTYPES = [torch.float32, torch.float64]
N_ITERS = 4
GROWTH = 2 * N_ITERS  # as in test_richardson_lucy.py


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_fft_convolve(
    sample: Sample, boundary: str, dtype: torch.dtype, rng: np.random.Generator
) -> None:
    shape = sample.extended if boundary == "extended" else sample.image
    image, psf = image_of(sample, rng, dtype, shape), lopsided_psf(rng, sample.psf, dtype)
    actual = otfuse.fft_convolve(image.cuda(), psf.cuda(), boundary=boundary)
    expected = reference.fft_convolve(image.double(), psf.double(), boundary=boundary)
    assert actual.is_cuda
    assert_close(actual, expected, "blurred", n=10 * image.numel())
    u = torch.from_numpy(rng.normal(size=tuple(actual.shape))).to(dtype).cuda()
    back = otfuse.fft_convolve(u, psf.cuda(), boundary=boundary, adjoint=True)
    assert_adjoint(actual, u, image, back, "adjoint")


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_richardson_lucy(
    sample: Sample,
    boundary: str,
    acceleration: str | None,
    dtype: torch.dtype,
    rng: np.random.Generator,
) -> None:
    image, psf = image_of(sample, rng, dtype), lopsided_psf(rng, sample.psf, dtype)
    mask = torch.from_numpy(rng.random(image.shape) > 0.1)
    options = {"boundary": boundary, "acceleration": acceleration, "background": 1.5}
    actual = otfuse.richardson_lucy(image.cuda(), psf.cuda(), N_ITERS, mask=mask.cuda(), **options)
    expected = reference.richardson_lucy(
        image.double(), psf.double(), N_ITERS, mask=mask, **options
    )
    assert_close(actual, expected, "estimate", factor=GROWTH)


LARGER = [
    Sample("tile", (128, 128), (9, 8), batch=(5,)),
    Sample("2d", (500, 700), (9, 8)),
    Sample("3d", (40, 96, 120), (5, 6, 7)),
    Sample("prime", (31, 37, 41), (5, 6, 7)),
]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", LARGER, ids=by_name)
def test_cpu_and_cuda_agree(sample: Sample, boundary: str, rng: np.random.Generator) -> None:
    image, psf = image_of(sample, rng, torch.float32) + 1, lopsided_psf(rng, sample.psf)
    told: dict[str, torch.Tensor] = {}
    found = {}
    for device in ("cpu", "cuda"):
        found[device] = otfuse.richardson_lucy(
            image.to(device),
            psf.to(device),
            20,
            boundary=boundary,
            callback=lambda i, info, at=device: told.update({at: info.i_divergence.cpu()}),
        ).cpu()
    difference = (found["cuda"] - found["cpu"]).norm() / found["cpu"].norm()
    assert float(difference) <= 1e-5
    assert float((told["cuda"] / told["cpu"] - 1).abs().max()) <= 1e-4


@pytest.mark.parametrize("sample", LARGER, ids=by_name)
def test_repeatable(sample: Sample, rng: np.random.Generator) -> None:
    image, psf = image_of(sample, rng, torch.float32).cuda(), lopsided_psf(rng, sample.psf).cuda()
    first = otfuse.richardson_lucy(image, psf, 10, acceleration="shb")
    for _ in range(3):
        again = otfuse.richardson_lucy(image, psf, 10, acceleration="shb")
        assert_same(again, first, "again")


def test_pointwise(rng: np.random.Generator) -> None:
    a, b, c = (torch.from_numpy(rng.random((33, 65))).cuda() for _ in range(3))
    assert_close(otfuse.rl_ratio(a, b, 0.1), reference.rl_ratio(a.cpu(), b.cpu(), 0.1), "ratio")
    assert_close(otfuse.rl_update(a, b, c), a * b * c, "update")


def test_gradients(rng: np.random.Generator) -> None:
    image = (torch.from_numpy(rng.random((2, 5, 6))) + 0.5).cuda().requires_grad_()
    psf = lopsided_psf(rng, (3, 2)).cuda().requires_grad_()
    for boundary in ("circular", "reflect"):

        def blur(x: torch.Tensor, h: torch.Tensor, b: str = boundary) -> torch.Tensor:
            return otfuse.fft_convolve(x, h, boundary=b)

        assert torch.autograd.gradcheck(blur, (image, psf))
        assert torch.autograd.gradgradcheck(blur, (image, psf))
    for acceleration in (None, "shb"):

        def restore(x: torch.Tensor, h: torch.Tensor, a: str | None = acceleration) -> torch.Tensor:
            return otfuse.richardson_lucy(x, h, 3, acceleration=a)

        assert torch.autograd.gradcheck(restore, (image, psf))


def test_opcheck(rng: np.random.Generator) -> None:
    image, kernel = (
        torch.from_numpy(rng.random(s) + 0.5).cuda().requires_grad_()
        for s in ((2, 6, 7), (1, 3, 4))
    )
    periodic = ((6, 7), False, (0, 0), (-1, -2), (0, 0), (6, 7))
    check = torch.library.opcheck
    check(torch.ops.otfuse.fft_convolve.default, (image, kernel, None, 1, *periodic, False))
    check(torch.ops.otfuse.make_otf.default, (kernel.detach(), (6, 7), False, (-1, -2)))
    check(torch.ops.otfuse.rl_update.default, (image, image, None))
    check(torch.ops.otfuse.rl_ratio.default, (image, image, image, 1e-6, False))


def test_compile(compiled: object, rng: np.random.Generator) -> None:
    image = (counts(rng, (2, 11, 12), torch.float32) + 1).cuda()
    psf = lopsided_psf(rng, (3, 4), torch.float32).cuda()

    def step(x: torch.Tensor) -> torch.Tensor:
        return otfuse.richardson_lucy(otfuse.fft_convolve(x, psf).relu() + 1, psf, 3).tanh()

    assert_close(compiled(step)(image), step(image), "compiled", factor=4)


def test_streams_and_graphs(rng: np.random.Generator) -> None:
    """On a stream of the caller's, and captured in a graph that is replayed with other images."""
    images = [(counts(rng, (64, 60), torch.float32) + 1).cuda() for _ in range(3)]
    psf = lopsided_psf(rng, (5, 4), torch.float32).cuda()
    truths = [otfuse.richardson_lucy(x, psf, 5, acceleration="shb") for x in images]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        aside = otfuse.richardson_lucy(images[0], psf, 5, acceleration="shb")
    torch.cuda.current_stream().wait_stream(stream)
    assert_same(aside, truths[0], "on another stream")
    given, graph = images[0].clone(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = otfuse.richardson_lucy(given, psf, 5, acceleration="shb")
    for image, truth in zip(images, truths, strict=True):
        given.copy_(image)
        graph.replay()
        assert_same(result, truth, "replayed")


def test_out_of_memory(rng: np.random.Generator) -> None:
    psf = lopsided_psf(rng, (3, 3), torch.float32).cuda()
    free, _ = torch.cuda.mem_get_info()
    image = torch.ones(1, device="cuda").expand(free // 4 // 4096**2 + 1, 4096, 4096)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        otfuse.richardson_lucy(image, psf, 2)
    small = counts(rng, (16, 16), torch.float32).cuda() + 1
    assert bool(torch.isfinite(otfuse.richardson_lucy(small, psf, 2)).all())


def test_cupy_in_and_out(rng: np.random.Generator) -> None:
    cupy = pytest.importorskip("cupy")
    image = counts(rng, (2, 20, 24), torch.float32) + 1
    psf = lopsided_psf(rng, (4, 3), torch.float32)
    out = otfuse.richardson_lucy(cupy.asarray(image.numpy()), cupy.asarray(psf.numpy()), 3)
    assert isinstance(out, cupy.ndarray)
    truth = otfuse.richardson_lucy(image.cuda(), psf.cuda(), 3)
    assert_same(torch.as_tensor(cupy.asnumpy(out)), truth.cpu(), "CuPy")


def test_several_devices(rng: np.random.Generator) -> None:
    """The same device twice serves where there is only one."""
    devices = [f"cuda:{i % torch.cuda.device_count()}" for i in range(2)]
    image = counts(rng, (5, 20, 24), torch.float32) + 1
    psf = lopsided_psf(rng, (4, 3), torch.float32)
    spread = otfuse.richardson_lucy(image, psf, 3, devices=devices)
    assert not spread.is_cuda
    assert_same(spread, otfuse.richardson_lucy(image.cuda(), psf.cuda(), 3).cpu(), "spread")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_mixed_precision(boundary: str, rng: np.random.Generator) -> None:
    image = (counts(rng, (12, 50, 63), torch.float32) + 1).cuda()
    psf = lopsided_psf(rng, (4, 5, 6), torch.float32).cuda()
    exact = otfuse.richardson_lucy(image, psf, 10, boundary=boundary)
    mixed = otfuse.richardson_lucy(image, psf, 10, boundary=boundary, precision="mixed")
    error = float((mixed - exact).norm() / exact.norm())
    assert 1e-6 < error < 3e-3
