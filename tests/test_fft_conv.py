# SPDX-License-Identifier: BSD-3-Clause
"""fft_conv1d, 2d, 3d against torch.nn.functional, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close
from samples import strided

# Even kernels under padding="same" make torch copy its input, and say so.
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]

OPTIONS = [
    {},
    {"bias": True},
    {"stride": 2},
    {"stride": 3, "padding": 2},
    {"padding": "same"},
    {"padding": "same", "dilation": 2},
    {"padding": "valid", "groups": 2},
    {"groups": 4, "channels_out": 4, "bias": True},
    {"dilation": 2, "padding": 1},
    {"stride": 3, "padding": 1, "dilation": 2, "groups": 2, "bias": True},
]


def both(
    ndim: int,
    image: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    options: dict,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return our result and torch's."""
    actual = getattr(otfuse, f"fft_conv{ndim}d")(image, weight, bias, **options)
    return actual, getattr(torch.nn.functional, f"conv{ndim}d")(image, weight, bias, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o)) or "plain")
@pytest.mark.parametrize("kernel", [(3, 4, 2), (7, 5, 6), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_matches_torch(
    ndim: int, kernel: tuple[int, ...], options: dict, dtype: torch.dtype, rng: np.random.Generator
) -> None:
    options = dict(options)
    groups, outputs = options.get("groups", 1), options.pop("channels_out", 6)
    image = torch.from_numpy(rng.normal(size=(2, 4, *(15, 13, 12)[:ndim])))
    weight = torch.from_numpy(rng.normal(size=(outputs, 4 // groups, *kernel[:ndim])))
    inputs = [image, weight]
    if options.pop("bias", False):
        inputs.append(torch.from_numpy(rng.normal(size=outputs)))
    inputs = [t.to(dtype).requires_grad_() for t in inputs]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    actual = getattr(otfuse, f"fft_conv{ndim}d")(*inputs, **options)
    expected = getattr(torch.nn.functional, f"conv{ndim}d")(*exact, **options)
    assert actual.dtype == dtype
    assert_close(actual, expected, "out", n=image.numel())
    cotangent = torch.from_numpy(rng.normal(size=actual.shape)).to(dtype)
    grads = torch.autograd.grad(actual, inputs, cotangent)
    truths = torch.autograd.grad(expected, exact, cotangent.double())
    for name, grad, truth in zip(("input", "weight", "bias"), grads, truths, strict=False):
        assert_close(grad, truth, f"gradient of {name}", n=image.numel(), factor=2)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_one_value_per_axis(ndim: int, rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(2, 3, *(14, 12, 13)[:ndim])))
    weight = torch.from_numpy(rng.normal(size=(4, 3, *(3, 2, 4)[:ndim])))
    options = {
        "stride": (2, 1, 3)[:ndim],
        "padding": (1, 2, 0)[:ndim],
        "dilation": (1, 3, 2)[:ndim],
    }
    assert_close(*both(ndim, image, weight, None, options), "tuples", n=image.numel())


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_without_batch_and_strided(ndim: int, rng: np.random.Generator) -> None:
    image = strided(torch.from_numpy(rng.normal(size=(3, *(14, 12, 13)[:ndim]))))
    weight = strided(torch.from_numpy(rng.normal(size=(4, 3, *(3, 2, 4)[:ndim]))))
    assert_close(*both(ndim, image, weight, None, {}), "unbatched", n=image.numel())


def test_whole_numbers(rng: np.random.Generator) -> None:
    image, weight = (torch.from_numpy(rng.integers(0, 9, s)) for s in ((2, 4, 9, 8), (3, 4, 5, 4)))
    options = {"stride": np.int64(2), "padding": (np.int64(1), 2)}
    actual, expected = both(2, image, weight, torch.arange(3), options)
    assert actual.dtype == expected.dtype and torch.equal(actual, expected)


def test_kernel_as_large_as_the_image(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(1, 2, 31, 33)))
    weight = torch.from_numpy(rng.normal(size=(3, 2, 31, 33)))
    assert_close(*both(2, image, weight, None, {}), "one voxel", n=image.numel())
    assert_close(*both(2, image, weight, None, {"padding": 15}), "padded", n=image.numel())


def test_gradcheck(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(2, 2, 5, 6))).requires_grad_()
    weight = torch.from_numpy(rng.normal(size=(2, 1, 3, 2))).requires_grad_()
    bias = torch.from_numpy(rng.normal(size=2)).requires_grad_()

    def conv(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return otfuse.fft_conv2d(x, w, b, stride=2, padding=1, groups=2)

    assert torch.autograd.gradcheck(conv, (image, weight, bias))
    assert torch.autograd.gradgradcheck(conv, (image, weight, bias))


def test_compile(compiled: object, rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(2, 4, 11, 12))).float()
    weight = torch.from_numpy(rng.normal(size=(6, 2, 5, 4))).float().requires_grad_()

    def step(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return otfuse.fft_conv2d(x, w, stride=2, padding=2, groups=2)

    actual, expected = compiled(step)(image, weight), step(image, weight)
    assert_close(actual, expected, "compiled", factor=4)
    (grad,) = torch.autograd.grad(actual.square().sum(), weight)
    (truth,) = torch.autograd.grad(expected.square().sum(), weight)
    assert_close(grad, truth, "compiled gradient", factor=4)


def test_every_simd_level(simd_level: str, rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(2, 4, 17, 45))).float()
    weight = torch.from_numpy(rng.normal(size=(6, 4, 5, 4))).float()
    actual, _ = both(2, image, weight, None, {})
    expected = torch.nn.functional.conv2d(image.double(), weight.double())
    assert_close(actual, expected, simd_level, n=image.numel())
