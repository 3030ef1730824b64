# SPDX-License-Identifier: BSD-3-Clause
"""fft_convolve against the reference, its adjoint, and what must not change its result."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import otfuse
from compare import assert_adjoint, assert_close, assert_same
from conftest import OnDevice
from otfuse import reference
from samples import (
    BOUNDARIES,
    PARITIES,
    SAMPLES,
    Sample,
    by_name,
    image_of,
    lopsided_psf,
    strided,
)

pytestmark = pytest.mark.usefixtures("one_thread")

DTYPES = [torch.float32, torch.float64]


def domain(sample: Sample, boundary: str, adjoint: bool) -> tuple[int, ...]:
    """Return the extents that go into the operator."""
    return sample.extended if boundary == "extended" and not adjoint else sample.image


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("adjoint", [False, True], ids=["forward", "adjoint"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_matches_reference(
    sample: Sample,
    boundary: str,
    adjoint: bool,
    dtype: torch.dtype,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    image = image_of(sample, rng, dtype, domain(sample, boundary, adjoint)).requires_grad_()
    psf = lopsided_psf(rng, sample.psf, dtype).requires_grad_()
    exact = image.detach().double().requires_grad_(), psf.detach().double().requires_grad_()
    actual = on_device(otfuse.fft_convolve)(image, psf, boundary=boundary, adjoint=adjoint)
    expected = reference.fft_convolve(*exact, boundary=boundary, adjoint=adjoint)
    assert actual.dtype == dtype
    n = int(np.prod(sample.extended))
    assert_close(actual, expected, "out", n=n)
    cotangent = torch.from_numpy(rng.normal(size=actual.shape))
    grads = torch.autograd.grad(actual, (image, psf), cotangent.to(dtype))
    truths = torch.autograd.grad(expected, exact, cotangent.to(dtype).double())
    assert_close(grads[0], truths[0], "grad_image", n=n)
    # The k kept of n sums of products of both signs: their rounding is that of the products.
    terms = float(cotangent.norm() * image.detach().norm()) * (psf.numel() / n) ** 0.5
    lost = terms / max(float(truths[1].norm()), 1e-300)
    assert_close(grads[1], truths[1], "grad_psf", n=n, factor=max(1.0, lost))


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("extents", PARITIES, ids=by_name)
def test_adjoint(
    extents: tuple[int, ...],
    boundary: str,
    dtype: torch.dtype,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    shape = (7, 10, 9)[: len(extents)]
    psf = lopsided_psf(rng, extents, dtype)
    grown = tuple(n + k - 1 for n, k in zip(shape, extents, strict=True))
    x = torch.from_numpy(rng.normal(size=grown if boundary == "extended" else shape)).to(dtype)
    u = torch.from_numpy(rng.normal(size=shape)).to(dtype)
    convolve = on_device(otfuse.fft_convolve)
    hx = convolve(x, psf, boundary=boundary)
    htu = convolve(u, psf, boundary=boundary, adjoint=True)
    assert_adjoint(hx, u, x, htu, boundary)


@pytest.mark.parametrize("adjoint", [False, True], ids=["forward", "adjoint"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("extents", PARITIES, ids=by_name)
def test_delta_is_identity(
    extents: tuple[int, ...],
    boundary: str,
    adjoint: bool,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    sample = Sample("delta", (7, 10, 9)[: len(extents)], extents)
    delta = torch.zeros(extents, dtype=torch.float64)
    delta[tuple(k // 2 for k in extents)] = 1
    image = image_of(sample, rng, shape=domain(sample, boundary, adjoint))
    out = on_device(otfuse.fft_convolve)(image, delta, boundary=boundary, adjoint=adjoint)
    inside = tuple(
        slice(k - 1 - k // 2, k - 1 - k // 2 + n)
        for n, k in zip(sample.image, extents, strict=True)
    )
    if boundary == "extended" and adjoint:
        assert_close(out[inside], image, "inside")
        assert abs(float(out.sum() - image.sum())) < 1e-10 * float(image.sum())
    else:
        assert_close(out, image[inside] if boundary == "extended" else image, "out")


@pytest.mark.parametrize("shape", [(15, 16), (13, 11), (4, 9, 10)], ids=by_name)
def test_shift_equivariance(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    sample = Sample("shift", shape, (4, 3, 2)[: len(shape)])
    image, psf = image_of(sample, rng), lopsided_psf(rng, sample.psf)
    shifts, dims = (3, -2, 5)[: len(shape)], tuple(range(len(shape)))
    moved = otfuse.fft_convolve(image.roll(shifts, dims), psf)
    assert_close(moved, otfuse.fft_convolve(image, psf).roll(shifts, dims), "shifted")


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_every_simd_level(
    sample: Sample, dtype: torch.dtype, simd_level: str, rng: np.random.Generator
) -> None:
    image, psf = image_of(sample, rng, dtype), lopsided_psf(rng, sample.psf, dtype)
    for boundary in BOUNDARIES:
        for adjoint in (False, True):
            x = image_of(sample, rng, dtype, domain(sample, boundary, adjoint))
            actual = otfuse.fft_convolve(x, psf, boundary=boundary, adjoint=adjoint)
            expected = reference.fft_convolve(
                x.double(), psf.double(), boundary=boundary, adjoint=adjoint
            )
            n = int(np.prod(sample.extended))
            assert_close(actual, expected, f"{simd_level} {boundary}", n=n)
    assert image.shape == otfuse.fft_convolve(image, psf).shape


THREADED = [
    Sample("2d", (96, 80), (7, 6), batch=(5,)),
    Sample("2d-odd", (97, 45), (7, 6), batch=(3,)),
    Sample("2d-prime", (53, 61), (4, 5), batch=(2,)),
    Sample("3d", (20, 48, 40), (4, 5, 6)),
    Sample("3d-odd", (21, 33, 35), (4, 5, 6), batch=(2,)),
]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", THREADED, ids=by_name)
def test_threads_do_not_matter(
    sample: Sample, boundary: str, set_threads: object, rng: np.random.Generator
) -> None:
    psf = lopsided_psf(rng, sample.psf, torch.float32)
    image = image_of(sample, rng, torch.float32, domain(sample, boundary, False))
    results = []
    for n in (1, 2, 3):
        set_threads(n)
        results.append(otfuse.fft_convolve(image, psf, boundary=boundary))
    assert_same(results[1], results[0], "2 threads")
    assert_same(results[2], results[0], "3 threads")


@pytest.mark.parametrize("sample", THREADED, ids=by_name)
def test_batch_size_does_not_matter(sample: Sample, rng: np.random.Generator) -> None:
    psf = lopsided_psf(rng, sample.psf, torch.float32)
    images = image_of(Sample("batch", sample.image, sample.psf, batch=(5,)), rng, torch.float32)
    whole = otfuse.fft_convolve(images, psf)
    for i in range(5):
        assert_same(otfuse.fft_convolve(images[i], psf), whole[i], f"item {i}")
    assert_same(otfuse.fft_convolve(images[1:3], psf), whole[1:3], "items 1 and 2")


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("ndim", [2, 3])
def test_psf_with_leading_axes(
    ndim: int, boundary: str, rng: np.random.Generator, on_device: OnDevice
) -> None:
    sample = Sample("channels", (4, 9, 10)[-ndim:], (3, 4, 2)[-ndim:], batch=(2, 3))
    psf = torch.stack([lopsided_psf(rng, sample.psf) for _ in range(3)])
    image = image_of(sample, rng, shape=domain(sample, boundary, False))
    for kernel in (psf, psf[:1], psf[0], psf.expand(2, *psf.shape)):
        kernel = kernel.clone().requires_grad_()
        x = image.clone().requires_grad_()
        actual = on_device(otfuse.fft_convolve)(x, kernel, boundary=boundary, ndim=ndim)
        expected = reference.fft_convolve(x, kernel, boundary=boundary, ndim=ndim)
        assert_close(actual, expected, f"psf {tuple(kernel.shape)}")
        cotangent = torch.from_numpy(rng.normal(size=actual.shape))
        grads = torch.autograd.grad(actual, (x, kernel), cotangent)
        truths = torch.autograd.grad(expected, (x, kernel), cotangent)
        assert_close(grads[0], truths[0], "grad_image")
        assert_close(grads[1], truths[1], "grad_psf", factor=16)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "extents"), [((2, 5, 6), (3, 2)), ((3, 4, 5), (2, 3, 2))], ids=["2d", "3d"]
)
def test_gradcheck(
    shape: tuple[int, ...],
    extents: tuple[int, ...],
    boundary: str,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    image = torch.from_numpy(rng.normal(size=shape)).requires_grad_()
    psf = torch.from_numpy(rng.normal(size=extents)).requires_grad_()
    for adjoint in (False, True):

        def convolve(x: torch.Tensor, h: torch.Tensor, adjoint: bool = adjoint) -> torch.Tensor:
            return on_device(otfuse.fft_convolve)(x, h, boundary=boundary, adjoint=adjoint)

        assert torch.autograd.gradcheck(convolve, (image, psf))
        assert torch.autograd.gradgradcheck(convolve, (image, psf))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_otf_gives_the_same(boundary: str, rng: np.random.Generator) -> None:
    sample = Sample("otf", (5, 9, 10), (4, 3, 2))
    psf = lopsided_psf(rng, sample.psf, torch.float32).requires_grad_()
    otf = otfuse.Otf(psf, sample.image, boundary=boundary)
    # The spectrum is rebuilt by each of these: its order belongs to the machine.
    twins = [pickle.loads(pickle.dumps(otfuse.Otf(psf.detach(), sample.image, boundary=boundary)))]
    twins.append(copy.deepcopy(otfuse.Otf(psf.detach(), sample.image, boundary=boundary)))
    twins.append(otf.to("cpu"))
    for adjoint in (False, True):
        image = image_of(sample, rng, torch.float32, domain(sample, boundary, adjoint))
        expected = otfuse.fft_convolve(image, psf, boundary=boundary, adjoint=adjoint)
        actual = otfuse.fft_convolve(image, otf, boundary=boundary, adjoint=adjoint)
        assert_same(actual, expected, "prepared")
        (truth,) = torch.autograd.grad(expected.square().sum(), psf)
        (grad,) = torch.autograd.grad(actual.square().sum(), psf, retain_graph=True)
        assert_close(grad, truth, "grad_psf")
        for i, twin in enumerate(twins):
            again = otfuse.fft_convolve(image, twin, boundary=boundary, adjoint=adjoint)
            assert_same(again, expected, f"twin {i}")


def test_otf_follows_a_psf_that_learns(rng: np.random.Generator) -> None:
    class Blur(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.psf = torch.nn.Parameter(lopsided_psf(rng, (3, 4)))
            self.otf = otfuse.Otf(self.psf, (8, 9))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return otfuse.fft_convolve(image, self.otf)

    image = torch.from_numpy(rng.normal(size=(8, 9)))
    first = Blur()
    before = first(image)
    module = copy.deepcopy(first)
    module(image).square().sum().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    assert_same(module(image), otfuse.fft_convolve(image, module.psf), "after a step")
    assert not torch.equal(module(image), before)
    assert_same(first(image), before, "the original")


def test_otf_compiles(compiled: Callable, rng: np.random.Generator) -> None:
    otf = otfuse.Otf(lopsided_psf(rng, (3, 4)), (8, 9))
    image = torch.from_numpy(rng.normal(size=(2, 8, 9)))
    actual = compiled(lambda x: otfuse.fft_convolve(x, otf))(image)
    assert_same(actual, otfuse.fft_convolve(image, otf), "compiled")


def test_otf_survives_another_simd_level(rng: np.random.Generator, simd_level: str) -> None:
    from otfuse import _C

    sample = Sample("otf", (9, 45), (4, 3))
    image, psf = image_of(sample, rng, torch.float32), lopsided_psf(rng, (4, 3), torch.float32)
    otf = otfuse.Otf(psf, sample.image, boundary="circular")
    expected = reference.fft_convolve(image, psf)
    for level in _C.simd_levels():
        _C.set_simd(level)
        assert_close(otfuse.fft_convolve(image, otf), expected, f"{simd_level} to {level}")


def test_numpy_in_numpy_out(rng: np.random.Generator) -> None:
    sample = Sample("numpy", (9, 10), (3, 4))
    image, psf = image_of(sample, rng).numpy(), lopsided_psf(rng, (3, 4)).numpy()
    before = image.copy(), psf.copy()
    out = otfuse.fft_convolve(image, psf)
    assert type(out) is np.ndarray
    assert out.dtype == np.float64
    assert_close(out, reference.fft_convolve(image, psf), "numpy")
    assert np.array_equal(image, before[0])
    assert np.array_equal(psf, before[1])
    backwards = image[::-1, ::-1]  # torch has no negative strides
    assert_close(
        otfuse.fft_convolve(backwards, psf),
        reference.fft_convolve(backwards.copy(), psf),
        "flipped",
    )
    image.flags.writeable = False
    assert_close(otfuse.fft_convolve(image, psf), out, "read-only")
    swapped = image.astype(">f4")
    assert_close(otfuse.fft_convolve(swapped, psf), out, "big-endian")


@pytest.mark.parametrize(
    "dtype",
    [
        torch.uint8,
        torch.int16,
        torch.uint16,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.bool,
    ],
    ids=str,
)
def test_other_types_are_computed_in_float32(dtype: torch.dtype, rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.integers(0, 100, (8, 9))).to(dtype)
    psf = lopsided_psf(rng, (3, 4))
    out = otfuse.fft_convolve(image, psf)
    assert out.dtype == torch.float32
    assert_same(out, otfuse.fft_convolve(image.float(), psf.float()), str(dtype))


def test_empty_batch(rng: np.random.Generator) -> None:
    out = otfuse.fft_convolve(torch.zeros(0, 8, 9), lopsided_psf(rng, (3, 4)))
    assert out.shape == (0, 8, 9)


@given(data=st.data())
def test_any_shape_stride_and_type(data: st.DataObject) -> None:
    ndim = data.draw(st.sampled_from([2, 3]), "ndim")
    extent = st.integers(1, 40 if ndim == 2 else 14)
    shape = tuple(data.draw(st.lists(extent, min_size=ndim, max_size=ndim), "shape"))
    extents = tuple(data.draw(st.integers(1, n), "k") for n in shape)
    batch = data.draw(st.sampled_from([(), (1,), (3,), (2, 2)]), "batch")
    sample = Sample("drawn", shape, extents, batch=batch)
    boundary = data.draw(st.sampled_from(BOUNDARIES))
    adjoint = data.draw(st.booleans())
    dtype = data.draw(st.sampled_from([*DTYPES, torch.uint16, torch.float16]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = image_of(sample, rng, dtype, domain(sample, boundary, adjoint))
    psf = lopsided_psf(rng, extents)
    if data.draw(st.booleans(), "strided"):
        image, psf = strided(image), strided(psf)
    before = torch.get_num_threads()
    torch.set_num_threads(data.draw(st.integers(1, 4), "threads"))
    actual = otfuse.fft_convolve(image, psf, boundary=boundary, adjoint=adjoint)
    torch.set_num_threads(before)
    expected = reference.fft_convolve(
        image.double(), psf.to(actual.dtype).double(), boundary=boundary, adjoint=adjoint
    )
    # Grids of a few voxels have too few roundings to average out.
    assert_close(actual, expected, "drawn", n=int(np.prod(sample.extended)), factor=2)
