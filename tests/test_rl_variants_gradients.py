# SPDX-License-Identifier: BSD-3-Clause
"""Gradients, vmap and compile of richardson_lucy with Biggs-Andrews and total variation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close
from otfuse import reference
from samples import BOUNDARIES, counts, lopsided_psf
from test_rl_variants import VARIANTS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_match_reference(
    variant: str, boundary: str, masked: bool, rng: np.random.Generator
) -> None:
    shape, extents = (2, 8, 9), (4, 3)
    inputs = [counts(rng, shape) + 5, 2 * lopsided_psf(rng, extents), counts(rng, shape) + 5]
    inputs.append(torch.from_numpy(rng.random(shape)))
    mask = torch.from_numpy(rng.random(shape) > 0.1) if masked else None
    cotangent = torch.from_numpy(rng.normal(size=shape))
    options = {"boundary": boundary, "mask": mask, **VARIANTS[variant], "voxel": (0.2, 0.1)}
    for n_iters in (1, 4, 7):
        grads = []
        for library in (otfuse, reference):
            leaves = [t.clone().requires_grad_() for t in inputs]
            out = library.richardson_lucy(
                *leaves[:2], n_iters, init=leaves[2], background=leaves[3], **options
            )
            grads.append(torch.autograd.grad(out, leaves, cotangent))
        for name, actual, expected in zip(
            ("image", "psf", "init", "background"), *grads, strict=True
        ):
            # Slopes near 0 make the total variation's derivative large: 2.4e-11 was the worst.
            factor = 2**16 if "tv" in options else 2**10
            assert_close(actual, expected, f"grad_{name}, {n_iters} iterations", factor=factor)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_through_chunks(variant: str, rng: np.random.Generator) -> None:
    image, psf = (counts(rng, (7, 8)) + 5).requires_grad_(), lopsided_psf(rng, (3, 4))
    whole = otfuse.richardson_lucy(image, psf, 12, **VARIANTS[variant])
    parts = otfuse.richardson_lucy(
        image, psf, 12, callback=lambda i, info: None, **VARIANTS[variant]
    )
    (expected,) = torch.autograd.grad(whole.square().sum(), image)
    (actual,) = torch.autograd.grad(parts.square().sum(), image)
    assert_close(actual, expected, "grad_image", factor=1024)


@pytest.mark.parametrize("variant", ["biggs", "tv", "biggs-tv"])
def test_gradcheck(variant: str, rng: np.random.Generator) -> None:
    image = (counts(rng, (2, 5, 4)) + 5).requires_grad_()
    psf = lopsided_psf(rng, (3, 2)).requires_grad_()
    for boundary in BOUNDARIES:
        assert torch.autograd.gradcheck(
            lambda y, h, boundary=boundary: otfuse.richardson_lucy(
                y, h, 4, boundary=boundary, init="image", **VARIANTS[variant]
            ),
            (image, psf),
        )


def test_vmap(rng: np.random.Generator) -> None:
    images = counts(rng, (3, 9, 10)) + 5
    psfs = torch.stack([lopsided_psf(rng, (3, 4)) for _ in range(3)])
    backs = torch.stack([otfuse.psf.back_projector(h, "gaussian") for h in psfs])
    backgrounds = torch.from_numpy(rng.random((3, 9, 10)))

    def accelerated(y: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return otfuse.richardson_lucy(y, psfs[0], 4, acceleration="biggs", tv=0.02, background=b)

    def unmatched(y: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        return otfuse.richardson_lucy(y, psfs[0], back_projector=back)

    together, by_back = torch.vmap(accelerated)(images, backgrounds), torch.vmap(unmatched)
    for i in range(3):
        assert_close(together[i], accelerated(images[i], backgrounds[i]), f"image {i}", factor=4)
        alone = unmatched(images[i], backs[i])
        assert_close(by_back(images, backs)[i], alone, f"back projector {i}", factor=4)


@pytest.mark.parametrize("variant", ["biggs", "shb-tv"])
def test_compile(variant: str, compiled: object, rng: np.random.Generator) -> None:
    def step(image: torch.Tensor, psf: torch.Tensor) -> torch.Tensor:
        return otfuse.richardson_lucy(image, psf, 3, **VARIANTS[variant]).square().mean()

    psf = lopsided_psf(rng, (3, 4)).requires_grad_()
    image = (counts(rng, (11, 12)) + 5).requires_grad_()
    expected, actual = step(image, psf), compiled(step)(image, psf)
    assert_close(actual, expected, "compiled", factor=4)
    grads = (torch.autograd.grad(value, (image, psf)) for value in (actual, expected))
    for got, wanted in zip(*grads, strict=True):
        assert_close(got, wanted, "gradient", factor=64)
