# SPDX-License-Identifier: BSD-3-Clause
"""wiener against the reference, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close
from otfuse import reference
from samples import SAMPLES, Sample, by_name, image_of, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

BOUNDARIES = ["circular", "reflect"]
BALANCE = 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_matches_reference(
    sample: Sample, boundary: str, dtype: torch.dtype, rng: np.random.Generator
) -> None:
    image = image_of(sample, rng, dtype).requires_grad_()
    psf = lopsided_psf(rng, sample.psf, dtype).requires_grad_()
    exact = image.detach().double().requires_grad_(), psf.detach().double().requires_grad_()
    actual = otfuse.wiener(image, psf, balance=BALANCE, boundary=boundary)
    expected = reference.wiener(*exact, balance=BALANCE, boundary=boundary)
    assert actual.dtype == dtype
    # The inverse gives back up to 1 / (2 sqrt(balance)) of what the rounding put in.
    assert_close(actual, expected, "wiener", factor=4)
    cotangent = torch.randn(actual.shape, generator=torch.Generator().manual_seed(5), dtype=dtype)
    grads = torch.autograd.grad(actual, (image, psf), cotangent)
    truths = torch.autograd.grad(expected, exact, cotangent.double())
    assert_close(grads[0], truths[0], "grad_image", factor=4)
    share = psf.numel() / np.prod(sample.extended)
    terms = float(cotangent.norm() * image.detach().norm()) / BALANCE * share**0.5
    lost = terms / max(float(truths[1].norm()), 1e-300)
    assert_close(grads[1], truths[1], "grad_psf", factor=max(1.0, lost))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gradcheck(boundary: str, rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(5, 6))).requires_grad_()
    psf = lopsided_psf(rng, (3, 2)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, h: otfuse.wiener(x, h, balance=BALANCE, boundary=boundary), (image, psf)
    )


def test_restores_what_was_blurred(rng: np.random.Generator) -> None:
    image = image_of(Sample("image", (30, 31), (3, 4)), rng)
    psf = lopsided_psf(rng, (3, 4))
    blurred = otfuse.fft_convolve(image, psf)
    restored = otfuse.wiener(blurred, psf, balance=1e-12, boundary="circular")
    assert_close(restored, image, "restored", factor=1e8)


def test_batches_channels_numpy_and_counts(rng: np.random.Generator) -> None:
    image = rng.integers(0, 1000, (2, 3, 9, 10)).astype(np.uint16)
    psf = np.stack([lopsided_psf(rng, (3, 4)).numpy() for _ in range(3)])
    out = otfuse.wiener(image, psf, balance=BALANCE, ndim=2)
    assert type(out) is np.ndarray
    assert out.dtype == np.float32
    for i, j in np.ndindex(2, 3):
        alone = reference.wiener(image[i, j].astype(float), psf[j], balance=BALANCE)
        assert_close(out[i, j], alone, f"item {i}, {j}", factor=8)


def test_compile(compiled: object, rng: np.random.Generator) -> None:
    image = image_of(Sample("image", (9, 10), (3, 4), batch=(2,)), rng, torch.float32)
    psf = lopsided_psf(rng, (3, 4), torch.float32).requires_grad_()

    def step(image: torch.Tensor, psf: torch.Tensor) -> torch.Tensor:
        return otfuse.wiener(image, psf, balance=BALANCE)

    actual, expected = compiled(step)(image, psf), step(image, psf)
    assert_close(actual, expected, "compiled")
    (grad,) = torch.autograd.grad(actual.sum(), psf)
    (truth,) = torch.autograd.grad(expected.sum(), psf)
    assert_close(grad, truth, "compiled gradient", factor=16)
