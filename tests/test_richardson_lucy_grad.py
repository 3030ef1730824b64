# SPDX-License-Identifier: BSD-3-Clause
"""Gradients of richardson_lucy in image, PSF and start, and the memory that they take."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close
from conftest import OnDevice
from otfuse import reference
from samples import BOUNDARIES, counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

ACCELERATIONS = [None, "shb"]
SHAPES = {"2d": ((2, 8, 9), (4, 3)), "3d": ((4, 6, 7), (3, 2, 4))}


@pytest.mark.parametrize("init", ["mean", "image", "array"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("acceleration", ACCELERATIONS, ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dimensions", SHAPES)
def test_gradients_match_reference(
    dimensions: str,
    boundary: str,
    acceleration: str | None,
    masked: bool,
    init: str,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    shape, extents = SHAPES[dimensions]
    inputs = [counts(rng, shape) + 1, 2 * lopsided_psf(rng, extents)]
    if init == "array":
        inputs.append(torch.from_numpy(20 * rng.random(shape) + 1))
    mask = torch.from_numpy(rng.random(shape) > 0.2) if masked else None
    cotangent = torch.from_numpy(rng.normal(size=shape))

    restore = on_device(otfuse.richardson_lucy)

    def gradients(run: object, n_iters: int, dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [t.to(dtype).requires_grad_() for t in inputs]
        out = run(
            leaves[0],
            leaves[1],
            n_iters,
            background=1.0,
            boundary=boundary,
            acceleration=acceleration,
            mask=mask,
            init=leaves[2] if init == "array" else init,
        )
        return list(torch.autograd.grad(out, leaves, cotangent.to(dtype)))

    # Numbers of iterations that do and do not divide into equal stretches between checkpoints.
    for n_iters in (1, 4, 7):
        truths = gradients(reference.richardson_lucy, n_iters, torch.float64)
        names = ("image", "psf", "init")
        for name, grad, truth in zip(
            names, gradients(restore, n_iters, torch.float64), truths, strict=False
        ):
            assert_close(grad, truth, f"grad_{name}, {n_iters} iterations", factor=64)
        for name, grad, truth in zip(
            names, gradients(restore, n_iters, torch.float32), truths, strict=False
        ):
            assert_close(grad, truth, f"float32 grad_{name}, {n_iters} iterations", factor=64)


@pytest.mark.parametrize("acceleration", ACCELERATIONS, ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("shape", "extents"), [((2, 5, 4), (3, 2)), ((3, 4, 5), (2, 3, 2))], ids=["2d", "3d"]
)
def test_gradcheck(
    shape: tuple[int, ...],
    extents: tuple[int, ...],
    boundary: str,
    acceleration: str | None,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    image = (counts(rng, shape) + 1).requires_grad_()
    psf = lopsided_psf(rng, extents).requires_grad_()
    init = torch.from_numpy(20 * rng.random(shape) + 1).requires_grad_()
    options = {"boundary": boundary, "acceleration": acceleration, "background": 0.5}

    def from_array(y: torch.Tensor, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return on_device(otfuse.richardson_lucy)(y, h, 3, init=x, **options)

    def from_mean(y: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return on_device(otfuse.richardson_lucy)(y, h, 3, **options)

    assert torch.autograd.gradcheck(from_array, (image, psf, init))
    assert torch.autograd.gradcheck(from_mean, (image, psf))


def test_psf_per_channel(rng: np.random.Generator) -> None:
    image = counts(rng, (2, 3, 7, 8)) + 1
    psf = torch.stack([lopsided_psf(rng, (3, 4)) for _ in range(3)])
    cotangent = torch.from_numpy(rng.normal(size=image.shape))
    for kernel in (psf, psf[:1], psf[0]):
        grads = []
        for library in (otfuse, reference):
            h = kernel.clone().requires_grad_()
            out = library.richardson_lucy(image, h, 3, ndim=2)
            grads.append(torch.autograd.grad(out, h, cotangent)[0])
        assert_close(grads[0], grads[1], f"grad_psf {tuple(kernel.shape)}", factor=64)


def test_only_what_is_asked_for(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (7, 8)) + 1, lopsided_psf(rng, (3, 4))
    for i in range(2):
        leaves = [image.clone(), psf.clone()]
        leaves[i].requires_grad_()
        otfuse.richardson_lucy(*leaves, 3).sum().backward()
        assert leaves[i].grad is not None
        assert leaves[1 - i].grad is None
    assert not otfuse.richardson_lucy(image, psf, 3).requires_grad


def test_a_second_derivative_is_refused(rng: np.random.Generator) -> None:
    image, psf = counts(rng, (6, 7)).requires_grad_(), lopsided_psf(rng, (3, 4))
    estimate = otfuse.richardson_lucy(image, psf, 3)
    (slope,) = torch.autograd.grad(estimate.square().sum(), image, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^richardson_lucy: gradients must not be different"):
        torch.autograd.grad(slope.square().sum(), image)


def test_gradients_through_chunks(rng: np.random.Generator) -> None:
    """A callback cuts the run into chunks; the gradient is that of the whole."""
    image, psf = (counts(rng, (7, 8)) + 1).requires_grad_(), lopsided_psf(rng, (3, 4))
    for acceleration in ACCELERATIONS:
        whole = otfuse.richardson_lucy(image, psf, 12, acceleration=acceleration)
        parts = otfuse.richardson_lucy(
            image, psf, 12, acceleration=acceleration, callback=lambda i, info: None
        )
        (expected,) = torch.autograd.grad(whole.square().sum(), image)
        (actual,) = torch.autograd.grad(parts.square().sum(), image)
        assert_close(actual, expected, "grad_image", factor=64)


def test_gradients_where_the_image_is_dark(rng: np.random.Generator) -> None:
    """There the correction is 0 give or take its rounding, whose sign must not matter."""
    image = counts(rng, (20, 21)) + 1
    image[4:16, 5:17] = 0
    psf = lopsided_psf(rng, (4, 3))
    cotangent = torch.from_numpy(rng.normal(size=image.shape))
    for boundary in BOUNDARIES:
        grads = []
        for library in (otfuse, reference):
            y = image.clone().requires_grad_()
            out = library.richardson_lucy(y, psf, 1, boundary=boundary)
            grads.append(torch.autograd.grad(out, y, cotangent)[0])
        assert_close(grads[0], grads[1], f"grad_image, {boundary}", factor=16)


PEAK = """
import resource, torch, otfuse
torch.set_num_threads(1)
image = torch.rand(512, 512).requires_grad_()
psf = torch.rand(5, 5).requires_grad_()
otfuse.richardson_lucy(image, psf, {n_iters}, acceleration="shb").sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_grows_as_the_square_root() -> None:
    """16 times the iterations may take 4 times the memory; one array an iteration would be 16."""

    def peak(n_iters: int) -> int:
        script = PEAK.format(n_iters=n_iters)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        return int(done.stdout)

    base, few, many = peak(1), peak(4), peak(64)
    # Counted in images of 1 MiB: the allocator's own noise is a few of them.
    image_kib = 1024
    assert many - base <= 4 * max(few - base, 8 * image_kib) + 8 * image_kib, (base, few, many)
