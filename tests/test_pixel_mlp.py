# SPDX-License-Identifier: BSD-3-Clause
"""pixel_mlp against plain torch in float64: values, gradients, errors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import otfuse
from compare import assert_close, assert_same
from otfuse import ops, reference

pytestmark = pytest.mark.usefixtures("one_thread")

# axes after the channels, channels of input and layers
SHAPES = [
    ((5,), (1, 32, 32, 32)),
    ((7, 31), (1, *[32] * 12)),
    ((2, 3, 50), (3, 5, 49, 2)),
    ((), (4, 1)),
]
DTYPES = [torch.float32, torch.float64]


def tensors(
    rng: np.random.Generator, axes: Sequence[int], widths: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    def draw(*shape: int) -> Tensor:
        scale = 1.5 / np.sqrt(shape[-1]) if len(shape) == 2 else 1.0
        return torch.from_numpy(scale * rng.standard_normal(shape)).to(dtype)

    weights = [draw(b, a) for a, b in pairwise(widths)]
    return draw(2, widths[0], *axes), weights, [0.1 * draw(n) for n in widths[1:]]


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(shape: tuple, dtype: torch.dtype, rng: np.random.Generator) -> None:
    x, weights, biases = tensors(rng, *shape, dtype)
    n = len(weights)
    values = [t.requires_grad_() for t in (x, *weights, *biases)]
    exact = [t.detach().double().requires_grad_() for t in values]
    actual = otfuse.pixel_mlp(x, weights, biases)
    expected = reference.pixel_mlp(exact[0], exact[1 : 1 + n], exact[1 + n :])
    assert actual.dtype == dtype
    assert_close(actual, expected, "value", factor=4)
    cotangent = torch.randn(actual.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    grads = torch.autograd.grad(actual, values, cotangent)
    truths = torch.autograd.grad(expected, exact, cotangent.double())
    for i, (grad, truth) in enumerate(zip(grads, truths, strict=True)):
        assert_close(grad, truth, f"gradient {i}", factor=16)


def test_every_simd_level_and_threads(
    simd_level: str, set_threads: object, rng: np.random.Generator
) -> None:
    for dtype in DTYPES:
        x, weights, biases = tensors(rng, (7, 131), (1, *[32] * 12), dtype)
        expected = reference.pixel_mlp(
            x.double(), [w.double() for w in weights], [b.double() for b in biases]
        )
        set_threads(1)
        single = otfuse.pixel_mlp(x, weights, biases)
        assert_close(single, expected, simd_level, factor=4)
        set_threads(2)
        assert_same(otfuse.pixel_mlp(x, weights, biases), single, "2 threads")


def test_gradcheck_opcheck_compile(compiled: object, rng: np.random.Generator) -> None:
    x, weights, biases = tensors(rng, (5,), (2, 3, 2), torch.float64)
    inputs = [t.requires_grad_() for t in (x, *weights, *biases)]

    def network(x: Tensor, *rest: Tensor) -> Tensor:
        return otfuse.pixel_mlp(x, rest[:2], rest[2:])

    assert torch.autograd.gradcheck(network, inputs)
    torch.library.opcheck(torch.ops.otfuse.pixel_mlp.default, (x, weights, biases))
    actual, expected = compiled(network)(*inputs), ops.pixel_mlp(x, weights, biases)
    assert_same(actual, expected, "compiled")
    grads, truths = (torch.autograd.grad(y.sum(), inputs) for y in (actual, expected))
    for grad, truth in zip(grads, truths, strict=True):
        assert_close(grad, truth, "compiled gradient")


def test_empty_batch() -> None:
    result = otfuse.pixel_mlp(torch.ones(0, 1, 4), [torch.ones(2, 1)], [torch.ones(2)])
    assert result.shape == (0, 2, 4)


X, W, B = torch.ones(2, 3, 8), torch.ones(4, 3), torch.ones(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[0, 0], [W], [B]), r"input must have axes \(batch, channels, ...\)"),
        ((X, [], []), "weights and biases must be as many, at least one, got 0 and 0"),
        ((X, [W], []), "weights and biases must be as many, at least one, got 1 and 0"),
        ((X, [W, W], [B, B]), r"weights\[1\] must have shape \(channels_out, 4\), got \(4, 3\)"),
        ((X, [W], [B[:3]]), r"biases\[0\] must have shape \(4,\), got \(3,\)"),
    ],
)
def test_rejects(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=f"^pixel_mlp: {message}"):
        otfuse.pixel_mlp(*arguments)
