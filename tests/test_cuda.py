# SPDX-License-Identifier: BSD-3-Clause
"""What only a CUDA device has: streams, graphs, its memory, other libraries' arrays.

Answers and derivatives are compared by the tests of each family, through `on_device`.
"""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_same
from samples import BOUNDARIES, Sample, by_name, counts, image_of, lopsided_psf

importlib.import_module("otfuse.ops")

pytestmark = pytest.mark.cuda

LARGER = [
    Sample("tile", (128, 128), (9, 8), batch=(5,)),
    Sample("2d", (500, 700), (9, 8)),
    Sample("3d", (40, 96, 120), (5, 6, 7)),
    Sample("prime", (31, 37, 41), (5, 6, 7)),
]
VARIANTS = [{"acceleration": "biggs"}, {"tv": 0.002}, {"acceleration": "shb", "tv": 0.002}]


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


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(map(str, o.values())))
def test_variants_in_a_graph(options: dict, rng: np.random.Generator) -> None:
    """Sums and differences between two passes stay on the device, whoever transforms."""
    for shape in ((64, 60), (20, 24, 30), (31, 37)):
        psf = lopsided_psf(rng, (3, 4, 5)[-len(shape) :], torch.float32).cuda()
        given = (counts(rng, shape, torch.float32) + 5).cuda()
        options = {**options, "boundary": "circular"}
        truth = otfuse.richardson_lucy(given, psf, 6, **options)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = otfuse.richardson_lucy(given, psf, 6, **options)
        graph.replay()
        assert_same(result, truth, f"replayed, {shape}")


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


def test_convolution_in_a_graph(rng: np.random.Generator) -> None:
    """Nothing waits for the device, so a plain call can be captured too, by every tier."""
    for shape in ((64, 60), (20, 24, 30), (31, 37)):
        psf = lopsided_psf(rng, (5, 4, 3)[-len(shape) :], torch.float32).cuda()
        given = counts(rng, shape, torch.float32).cuda()
        otf, graph = otfuse.Otf(psf, shape), torch.cuda.CUDAGraph()
        otfuse.fft_convolve(given, otf)  # plans and tables are made by the first call
        with torch.cuda.graph(graph):
            result = otfuse.fft_convolve(given, otf)
        given.copy_(counts(rng, shape, torch.float32))
        graph.replay()
        assert_same(result, otfuse.fft_convolve(given, otf), f"replayed, {shape}")


def test_nothing_waits_for_the_device(rng: np.random.Generator) -> None:
    image = (counts(rng, (40, 48, 50), torch.float32) + 1).cuda()
    psf = lopsided_psf(rng, (5, 4, 3), torch.float32).cuda()
    otf = otfuse.Otf(psf, image.shape)
    warm = otfuse.fft_convolve(image, otf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls this mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        again = otfuse.fft_convolve(image, otf)
        ratio = otfuse.rl_ratio(image, again)
        otfuse.rl_update(image, ratio)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_same(again, warm, "again")


def test_more_than_32_bits_count() -> None:
    """A volume whose spectrum has 2^31 complex values or, on a smaller device, as large as fits."""
    torch.cuda.empty_cache()  # what torch keeps does not count as free
    free, _ = torch.cuda.mem_get_info()
    plane = 4096 * 4096
    nz = next(n for n in (256, 128, 64, 32, 16, 8) if 6 * n * plane * 4 < free)
    image = torch.zeros((nz, 4096, 4096), device="cuda")
    touched = [0, 1, nz // 2, nz - 1]
    for z in touched:
        image[z].uniform_(0, 1)
    psf = torch.zeros((3, 1, 2), device="cuda")
    psf[0, 0, 0] = 1  # a voxel down and one to the left
    moved = otfuse.fft_convolve(image, psf)
    for z in touched:
        expected = image[z].roll(-1, -1)
        assert float((moved[z - 1] - expected).norm() / expected.norm()) < 1e-6


def test_out_of_memory(rng: np.random.Generator) -> None:
    psf = lopsided_psf(rng, (3, 3), torch.float32).cuda()
    torch.cuda.empty_cache()
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
    assert 1e-6 < error < 5e-3  # as in test_cuda_kernels.py
