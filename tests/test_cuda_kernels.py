# SPDX-License-Identifier: BSD-3-Clause
"""The bodies of the CUDA kernels, run on the host with the threads of a block in both orders.

The public functions run as they are; only the ops under them are those of a device, whose
kernels are loops here. What depends on the order of threads misses a barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from otfuse import _C, ops, reference
from otfuse.ops._device import Device, built_kernels, tables, tier
from otfuse.ops.fft_convolve_cuda import fft_convolve_on, make_otf_on
from otfuse.ops.richardson_lucy_cuda import richardson_lucy_on
from otfuse.ops.rl_pointwise_cuda import rl_ratio_on, rl_update_on
from samples import BOUNDARIES, SAMPLES, Sample, by_name, counts, image_of, lopsided_psf

host = pytest.importorskip(
    "otfuse._host_kernels", reason="built without OTFUSE_HOST_KERNELS", exc_type=ImportError
)
pytestmark = pytest.mark.usefixtures("one_thread")

FORWARD, REVERSED = 0, 1
HOPPER, ADA = 232_448, 101_376  # bytes of shared memory that a block may have
DTYPES = [torch.float32, torch.float64]
N_ITERS = 3
GROWTH = 2 * N_ITERS  # as in test_richardson_lucy.py


class _Without:
    """The kernels of the host, some of whose answers are replaced: `name=answer`."""

    def __init__(self, **answers: object) -> None:
        self._answers = answers

    def __getattr__(self, name: str) -> object:
        if name in self._answers:
            return lambda *_: self._answers[name]
        return getattr(host, name)


NO_TILES = _Without(tile_bytes=0)
TORCH_ONLY = _Without(has_line_plan=False)


def play(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    """Let the public functions use the kernels of `device` for tensors of the CPU."""

    for name, body in (
        ("fft_convolve", fft_convolve_on),
        ("richardson_lucy", richardson_lucy_on),
        ("make_otf", make_otf_on),
    ):
        monkeypatch.setattr(ops, name, partial(body, device))


def both_orders(
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., torch.Tensor],
    *arguments: object,
    shared: int = HOPPER,
    kernels: object = host,
    **options: object,
) -> torch.Tensor:
    """Run with the threads forward and reversed; fail where that matters."""
    results = []
    for order in (FORWARD, REVERSED):
        play(monkeypatch, Device(kernels, order, shared))
        results.append(run(*arguments, **options))
    assert_same(results[1], results[0], "threads reversed")
    return results[0]


def tiers(sample: Sample) -> list[object]:
    """Return kernels that may keep an image in one block, and such that may not."""
    return [host, NO_TILES] if sample.ndim == 2 else [host]


@pytest.mark.parametrize("adjoint", [False, True], ids=["forward", "adjoint"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_fft_convolve(
    sample: Sample,
    boundary: str,
    adjoint: bool,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
) -> None:
    shape = sample.extended if boundary == "extended" and not adjoint else sample.image
    for dtype in DTYPES:
        image = image_of(sample, rng, dtype, shape)
        psf = lopsided_psf(rng, sample.psf, dtype)
        options = {"boundary": boundary, "adjoint": adjoint}
        expected = reference.fft_convolve(image.double(), psf.double(), **options)
        for kernels in tiers(sample):
            options["kernels"] = kernels
            actual = both_orders(monkeypatch, otfuse.fft_convolve, image, psf, **options)
            assert_close(actual, expected, f"{dtype}", n=10 * image.numel())


@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_richardson_lucy(
    sample: Sample,
    boundary: str,
    acceleration: str | None,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
) -> None:
    for dtype in DTYPES:
        image, psf = image_of(sample, rng, dtype), lopsided_psf(rng, sample.psf, dtype)
        mask = torch.from_numpy(rng.random(image.shape) > 0.1)
        options = {"boundary": boundary, "acceleration": acceleration, "background": 1.5}
        if dtype == torch.float64:
            options["mask"] = mask
        expected = reference.richardson_lucy(image.double(), psf.double(), N_ITERS, **options)
        run = otfuse.richardson_lucy
        for kernels in tiers(sample):
            options["kernels"] = kernels
            actual = both_orders(monkeypatch, run, image, psf, N_ITERS, **options)
            assert_close(actual, expected, f"{dtype}", factor=GROWTH)


@pytest.mark.parametrize("kernels", [host, NO_TILES, TORCH_ONLY], ids=["tile", "pencils", "torch"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    "sample",
    [Sample("2d", (9, 12), (4, 3), batch=(3,)), Sample("3d", (5, 8, 9), (3, 2, 4), batch=(2,))],
    ids=by_name,
)
def test_callbacks_and_tiers(
    sample: Sample,
    boundary: str,
    kernels: object,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
) -> None:
    """A run in chunks: momentum goes on, every item has its I-divergence, whoever transforms."""
    play(monkeypatch, Device(kernels, FORWARD, HOPPER))
    image, psf = image_of(sample, rng), lopsided_psf(rng, sample.psf)
    mask = torch.from_numpy(rng.random(image.shape) > 0.1)
    told: dict[object, torch.Tensor] = {}
    results = {}
    for library in (otfuse, reference):
        results[library] = library.richardson_lucy(
            image,
            psf,
            7,
            boundary=boundary,
            acceleration="shb",
            mask=mask,
            callback=lambda i, info, at=library: told.update({at: info.i_divergence}),
        )
    assert_close(results[otfuse], results[reference], "estimate", factor=2 * 7)
    assert_close(told[otfuse], told[reference], "I-divergence", factor=2 * 7)


@pytest.mark.parametrize("shared", [HOPPER, ADA], ids=["227KiB", "99KiB"])
@pytest.mark.parametrize(
    "shape",
    [(3, 4096), (4096, 3), (2, 1, 2187), (1200, 2, 2), (2, 1250, 2), (343, 9), (160, 84)],
    ids=by_name,
)
def test_long_lines(
    shape: tuple[int, ...], shared: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Every radix, the longest lines, and fewer columns to a block than fit on larger devices."""
    psf = lopsided_psf(rng, tuple(min(n, 3) for n in shape))
    for dtype in DTYPES:
        image = counts(rng, shape, dtype)
        run, h = otfuse.fft_convolve, psf.to(dtype)
        actual = both_orders(monkeypatch, run, image, h, shared=shared)
        expected = reference.fft_convolve(image.double(), psf)
        assert_close(actual, expected, f"{dtype}")


def test_psf_per_channel(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    image = counts(rng, (2, 3, 9, 10))
    psf = torch.stack([lopsided_psf(rng, (3, 4)) for _ in range(3)])
    for kernels in (host, NO_TILES, TORCH_ONLY):
        play(monkeypatch, Device(kernels, FORWARD, HOPPER))
        actual = otfuse.richardson_lucy(image, psf, N_ITERS, ndim=2)
        for i, j in np.ndindex(2, 3):
            alone = reference.richardson_lucy(image[i, j], psf[j], N_ITERS)
            assert_close(actual[i, j], alone, f"item {i}, channel {j}", factor=GROWTH)


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("n", [1, 7, 5000])
def test_pointwise(n: int, offset: int, dtype: torch.dtype, rng: np.random.Generator) -> None:
    """Sixteen bytes at a time where the arrays are aligned, with a rest; else one value."""
    device = Device(host, REVERSED, HOPPER)
    a, b, c = (torch.from_numpy(rng.random(n + offset)).to(dtype)[offset:] for _ in range(3))
    b = b * (b > 0.1)
    for add, mode in ((False, "clamp"), (True, "add")):
        actual = rl_ratio_on(device, a, b, 0 * c, 0.0 if add else 0.5, add)
        truth = reference.rl_ratio(a, b, 0 * c, floor=0.0 if add else 0.5, mode=mode)
        assert_close(actual, truth, mode)
    assert_close(rl_update_on(device, a, b, c), a * b * c, "weighted")
    assert_close(rl_update_on(device, a, b, None), a * b, "unweighted")


@pytest.mark.parametrize(
    ("grid", "double", "shared", "expected"),
    [
        ((128, 128), False, ADA, "tile"),
        ((160, 160), False, ADA, "pencils"),
        ((160, 160), False, HOPPER, "tile"),
        ((192, 192), True, HOPPER, "pencils"),
        ((1, 128, 128), False, HOPPER, "tile"),
        ((2, 128, 128), False, HOPPER, "pencils"),
        ((128, 105), False, HOPPER, "pencils"),
        ((4096, 4096, 4096), False, HOPPER, "pencils"),
        ((11, 512), False, HOPPER, "torch"),
        ((4200,), False, HOPPER, "torch"),
    ],
)
def test_tiers(
    grid: tuple[int, ...],
    double: bool,
    shared: int,
    expected: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A tile needs one even plane that fits; passes need short smooth lines."""
    with caplog.at_level("DEBUG", "otfuse"):
        assert tier(Device(host, FORWARD, shared), grid, double) == expected
    assert caplog.messages[-1].endswith(f": {expected}")


@pytest.mark.parametrize("kernels", [host, NO_TILES, TORCH_ONLY], ids=["tile", "pencils", "torch"])
@pytest.mark.parametrize(
    "sample",
    [Sample("2d", (18, 20), (5, 4), batch=(2,)), Sample("3d", (5, 9, 14), (3, 4, 3))],
    ids=by_name,
)
@pytest.mark.parametrize(
    "options",
    [
        {"acceleration": "biggs"},
        {"acceleration": "biggs", "boundary": "circular"},
        {"tv": 0.01},
        {"acceleration": "shb", "tv": 0.01, "boundary": "circular"},
        {"acceleration": "biggs", "tv": 0.01, "mask": True},
        {"back_projector": "wiener_butterworth"},
        {"back_projector": "wiener_butterworth", "boundary": "circular"},
        {"back_projector": "wiener_butterworth", "tv": 0.01},
        {"background": "array", "boundary": "circular"},
        {"stop": "held_out", "gain": 1.0, "offset": 0.0},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_variants_agree_with_the_cpu(
    options: dict[str, object],
    sample: Sample,
    kernels: object,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
) -> None:
    """In chunks of three iterations, so that odd and even ones are gone on from."""
    image, psf = image_of(sample, rng) + 5, lopsided_psf(rng, sample.psf)
    options = {**options, "voxel": (0.3, 0.1, 0.2)[-sample.ndim :], "force": True}
    if options.get("background") == "array":
        options["background"] = torch.from_numpy(rng.random(sample.image))
    if options.get("mask"):
        options["mask"] = torch.from_numpy(rng.random(image.shape) > 0.1)
    n_iters = 4 if "back_projector" in options else 8
    told: list[torch.Tensor] = []

    def run() -> torch.Tensor:
        return otfuse.richardson_lucy(
            image,
            psf,
            n_iters,
            **options,
            callback=lambda i, info: told.append(info.i_divergence),
            callback_every=3,
        )

    expected = run()
    divergence = told[-1]
    found = both_orders(monkeypatch, run, kernels=kernels)
    assert_close(found, expected, "estimate", factor=100)
    assert_close(told[-1], divergence, "I-divergence", factor=100)


def test_a_line_without_a_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="line_stages: n must be 7-smooth and at most 4096"):
        host.line_table(False, 4200)


def test_a_graph_of_a_first_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 0)
    array = SimpleNamespace(is_cuda=True, dtype=torch.float32, device=device)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match=r"got \(7, 9\) for the first time; call once before"):
        tables(host, array, (7, 9))


def test_a_build_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_C, "cuda", None)
    with pytest.raises(RuntimeError, match="a build without CUDA; reinstall otfuse with nvcc"):
        built_kernels()
