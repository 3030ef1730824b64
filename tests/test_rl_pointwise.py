# SPDX-License-Identifier: BSD-3-Clause
"""rl_ratio and rl_update against the reference, values and all gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from conftest import OnDevice
from otfuse import reference
from samples import strided

SHAPES = [(1,), (17,), (5, 33), (3, 4, 65), (2, 1, 8, 9)]


def arrays(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype, n: int
) -> list[torch.Tensor]:
    """Return n positive arrays, the last one not contiguous."""
    found = [torch.from_numpy(10 * rng.random(shape) + 0.1).to(dtype) for _ in range(n)]
    found[-1] = strided(found[-1])
    return found


def check(
    on_device: OnDevice,
    name: str,
    inputs: list[torch.Tensor],
    dtype: torch.dtype,
    *rest: object,
    **options: object,
) -> None:
    """Compare a function with the reference in value and every gradient."""
    for tensor in inputs:
        tensor.requires_grad_()
    exact = [t.detach().double().requires_grad_() for t in inputs]
    actual = on_device(getattr(otfuse, name))(*inputs, *rest, **options)
    expected = getattr(reference, name)(*exact, *rest, **options)
    assert actual.dtype == dtype
    assert_close(actual, expected, name)
    cotangent = torch.randn(actual.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    grads = torch.autograd.grad(actual, inputs, cotangent)
    truths = torch.autograd.grad(expected, exact, cotangent.double())
    for i, (grad, truth) in enumerate(zip(grads, truths, strict=True)):
        assert_close(grad, truth, f"{name}: gradient of argument {i}", factor=4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("mode", ["clamp", "add"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rl_ratio_matches_reference(
    shape: tuple[int, ...],
    mode: str,
    dtype: torch.dtype,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    check(on_device, "rl_ratio", arrays(rng, shape, dtype, 2), dtype, mode=mode)
    check(on_device, "rl_ratio", arrays(rng, shape, dtype, 2), dtype, 2.5, mode=mode, floor=0.1)
    check(on_device, "rl_ratio", arrays(rng, shape, dtype, 3), dtype, mode=mode, floor=4.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rl_update_matches_reference(
    shape: tuple[int, ...], dtype: torch.dtype, rng: np.random.Generator, on_device: OnDevice
) -> None:
    check(on_device, "rl_update", arrays(rng, shape, dtype, 2), dtype)
    check(on_device, "rl_update", arrays(rng, shape, dtype, 3), dtype)


def test_rl_ratio_below_the_floor() -> None:
    image = torch.tensor([6.0, 6.0, 0.0])
    reblurred = torch.tensor([-4.0, 0.0, -0.5], requires_grad=True)
    clamped = otfuse.rl_ratio(image, reblurred, floor=0.5)
    assert clamped.tolist() == [12.0, 12.0, 0.0]
    (grad,) = torch.autograd.grad(clamped.sum(), reblurred)
    assert grad.tolist() == [0.0, 0.0, 0.0]
    added = otfuse.rl_ratio(image, reblurred, floor=0.5, mode="add")
    assert added.tolist() == pytest.approx([6.0 / -3.5, 12.0, 0.0])
    (grad,) = torch.autograd.grad(added.sum(), reblurred)
    assert bool(torch.isfinite(grad).all())


def test_broadcasting(rng: np.random.Generator) -> None:
    image, reblurred = arrays(rng, (2, 3, 8), torch.float64, 2)
    background = torch.from_numpy(rng.random((3, 1)) + 0.5).requires_grad_()
    actual = otfuse.rl_ratio(image, reblurred, background)
    assert_close(actual, reference.rl_ratio(image, reblurred, background), "background")
    (grad,) = torch.autograd.grad(actual.sum(), background)
    (truth,) = torch.autograd.grad(
        reference.rl_ratio(image, reblurred, background).sum(), background
    )
    assert_close(grad, truth, "gradient of background")
    weight = torch.from_numpy(rng.random(8))
    assert_close(
        otfuse.rl_update(image, reblurred, weight),
        reference.rl_update(image, reblurred, weight),
        "weight",
    )


@pytest.mark.parametrize("mode", ["clamp", "add"])
def test_gradcheck(mode: str, rng: np.random.Generator, on_device: OnDevice) -> None:
    image, reblurred, background = arrays(rng, (3, 4), torch.float64, 3)
    inputs = tuple(t.requires_grad_() for t in (image, reblurred, background))
    divide, multiply = on_device(otfuse.rl_ratio), on_device(otfuse.rl_update)
    assert torch.autograd.gradcheck(lambda *t: divide(*t, mode=mode), inputs)
    assert torch.autograd.gradcheck(multiply, inputs)


def test_compile_vmap_autocast(compiled: object, rng: np.random.Generator) -> None:
    image, reblurred, weight = arrays(rng, (4, 5, 6), torch.float32, 3)
    reblurred.requires_grad_()

    def step(image: torch.Tensor, reblurred: torch.Tensor) -> torch.Tensor:
        return otfuse.rl_update(image, otfuse.rl_ratio(image, reblurred, 0.5), weight)

    expected = step(image, reblurred)
    actual = compiled(step)(image, reblurred)
    assert_close(actual, expected, "compiled")
    (grad,) = torch.autograd.grad(actual.sum(), reblurred)
    (truth,) = torch.autograd.grad(expected.sum(), reblurred)
    assert_close(grad, truth, "compiled gradient")
    each = torch.vmap(lambda y, m: otfuse.rl_ratio(y, m, 0.5))(image, reblurred)
    assert_close(each, otfuse.rl_ratio(image, reblurred, 0.5), "vmap")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = otfuse.rl_ratio(image.bfloat16(), reblurred.bfloat16())
    assert inside.dtype == torch.float32


def test_every_simd_level(simd_level: str, rng: np.random.Generator) -> None:
    for dtype in (torch.float32, torch.float64):
        image, reblurred, weight = arrays(rng, (7, 37), dtype, 3)
        ratio = otfuse.rl_ratio(image, reblurred, 0.5)
        assert_close(ratio, reference.rl_ratio(image, reblurred, 0.5), simd_level)
        updated = otfuse.rl_update(image, reblurred, weight)
        assert_close(updated, reference.rl_update(image, reblurred, weight), simd_level)


def test_numpy_and_counts(rng: np.random.Generator, set_threads: object) -> None:
    image = rng.integers(0, 1000, (64, 65)).astype(np.uint16)
    reblurred = rng.random((64, 65)) * 1000 + 1
    ratio = otfuse.rl_ratio(image, reblurred)
    assert type(ratio) is np.ndarray
    assert ratio.dtype == np.float32
    set_threads(2)
    assert_same(otfuse.rl_ratio(image, reblurred), ratio, "2 threads")
    updated = otfuse.rl_update(image, ratio)
    assert type(updated) is np.ndarray
