# SPDX-License-Identifier: BSD-3-Clause
"""conv_thin against plain torch in float64: values, gradients, errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import otfuse
from compare import assert_close, assert_same
from otfuse import ops, reference
from samples import strided

pytestmark = pytest.mark.usefixtures("one_thread")

# spatial extents, channels of each input, channels out, kernel
SHAPES = [
    ((7, 5), (3,), 5, (3, 3)),
    ((9, 33), (2, 1, 6), 9, (5, 1)),
    ((6, 35), (4,), 32, (1, 5)),
    ((5, 6, 17), (3, 1), 8, (3, 3, 3)),
    ((20, 40), (6,), 1, (9, 9)),
    ((3, 700), (6,), 2, (3, 3)),
    ((2, 70), (6,), 12, (1, 5)),
    ((3, 1, 1), (1,), 1, (3, 3, 3)),
    ((13, 31), (10, 10), 11, (1, 1)),
    ((4, 3, 5, 7)[1:], (2,), 3, (1, 5, 3)),
    ((50,), (3,), 4, (7,)),
    ((2, 2, 16), (1,), 49, (3, 1, 3)),
]
DTYPES = [torch.float32, torch.float64]


def tensors(
    rng: np.random.Generator,
    spatial: Sequence[int],
    channels: Sequence[int],
    out: int,
    kernel: Sequence[int],
    dtype: torch.dtype,
    batch: int = 2,
) -> list[Tensor]:
    """Return weight, bias, added and the inputs, the last of which is not contiguous."""

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape)).to(dtype)

    inputs = [draw(batch, c, *spatial) for c in channels]
    inputs[-1] = strided(inputs[-1])
    return [draw(out, sum(channels), *kernel), draw(out), draw(batch, 1, *spatial), *inputs]


def apply(room: object, values: Sequence[Tensor], activation: str) -> Tensor:
    weight, bias, added, *inputs = values
    return room.conv_thin(inputs, weight, bias, added=added, activation=activation)


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("activation", ["none", "relu", "softplus"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(
    shape: tuple, activation: str, dtype: torch.dtype, rng: np.random.Generator
) -> None:
    values = [t.requires_grad_() for t in tensors(rng, *shape, dtype)]
    exact = [t.detach().double().requires_grad_() for t in values]
    actual, expected = apply(otfuse, values, activation), apply(reference, exact, activation)
    assert actual.dtype == dtype
    assert_close(actual, expected, "value")
    cotangent = torch.randn(actual.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    grads = torch.autograd.grad(actual, values, cotangent)
    truths = torch.autograd.grad(expected, exact, cotangent.double())
    for i, (grad, truth) in enumerate(zip(grads, truths, strict=True)):
        # The slope of relu jumps where rounding decides the sign: seen 1e-6 relative.
        assert_close(grad, truth, f"gradient {i}", factor=8)


def test_without_bias_or_added(rng: np.random.Generator) -> None:
    weight, _, _, x = tensors(rng, (8, 9), (4,), 6, (3, 3), torch.float32)
    expected = reference.conv_thin(x.double(), weight.double())
    assert_close(otfuse.conv_thin(x, weight), expected, "a single input")


@pytest.mark.parametrize("extents", [(6, 32), (3, 5, 16), (7, 20)], ids=str)
def test_sources_of_a_kernel_of_one_pixel(
    extents: tuple[int, ...], simd_level: str, rng: np.random.Generator
) -> None:
    # Rows of whole vectors are read where they are, others are staged.
    values = tensors(rng, extents, (5, 1, 9), 13, (1,) * len(extents), torch.float32)
    weight, bias, _, *inputs = values
    expected = reference.conv_thin([t.double() for t in inputs], weight.double(), bias.double())
    assert_close(otfuse.conv_thin(inputs, weight, bias), expected, simd_level)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)], ids=str)
def test_output_beyond_the_caches(
    kernel: tuple[int, int], simd_level: str, rng: np.random.Generator
) -> None:
    values = tensors(rng, (384, 384), (4,), 32, kernel, torch.float32, batch=1)
    assert 32 * 384 * 384 * 4 > 16 << 20
    expected = apply(reference, [t.double() for t in values], "relu")
    assert_close(apply(otfuse, values, "relu"), expected, simd_level)


def test_every_simd_level(simd_level: str, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        for shape in SHAPES:
            values = tensors(rng, *shape, dtype)
            expected = apply(reference, [t.double() for t in values], "softplus")
            assert_close(apply(otfuse, values, "softplus"), expected, f"{simd_level} {shape}")


def test_threads_agree(set_threads: object, rng: np.random.Generator) -> None:
    for shape in [((6, 40, 40), (3, 1), 8, (3, 3, 3)), ((70, 900), (5,), 9, (3, 3))]:
        values = tensors(rng, *shape, torch.float32)
        set_threads(1)
        single = apply(otfuse, values, "softplus")
        set_threads(2)
        assert_same(apply(otfuse, values, "softplus"), single, f"2 threads, {shape}")


def test_softplus_error(simd_level: str) -> None:
    t = torch.linspace(-110, 110, 400001)[None, None]
    one = torch.ones(1, 1, 1)
    exact = torch.nn.functional.softplus(t.double(), threshold=1000)
    error = (otfuse.conv_thin(t, one, activation="softplus") - exact).abs() / exact.clamp(min=1)
    assert float(error.max()) < 2e-7
    double = otfuse.conv_thin(t.double(), one.double(), activation="softplus")
    assert_close(double, exact, "float64")


def test_infinite_and_missing_values() -> None:
    t = torch.tensor([float("inf"), -float("inf"), float("nan")]).reshape(1, 1, 3)
    for activation, low in (("relu", 0.0), ("softplus", 0.0)):
        result = otfuse.conv_thin(t, torch.ones(1, 1, 1), activation=activation)[0, 0]
        assert result[0] == float("inf")
        assert float(result[1]) == pytest.approx(low, abs=1e-30)
        assert bool(result[2].isnan())


def test_empty_batch() -> None:
    assert otfuse.conv_thin(torch.ones(0, 3, 5, 5), torch.ones(4, 3, 3, 3)).shape == (0, 4, 5, 5)


def test_numpy_and_counts(rng: np.random.Generator) -> None:
    counts = rng.integers(0, 100, (1, 2, 9, 8)).astype(np.uint16)
    weight = rng.standard_normal((3, 2, 3, 3)).astype(np.float32)
    result = otfuse.conv_thin(counts, weight, activation="relu")
    assert type(result) is np.ndarray
    assert result.dtype == np.float32
    truth = reference.conv_thin(
        torch.from_numpy(counts.astype(np.float64)), torch.from_numpy(weight).double(),
        activation="relu",
    )  # fmt: skip
    assert_close(result, truth, "counts")


@pytest.mark.parametrize("activation", ["none", "softplus"])
def test_gradcheck(activation: str, rng: np.random.Generator) -> None:
    values = tensors(rng, (4, 3), (2, 1), 2, (3, 3), torch.float64, batch=1)
    inputs = [t.requires_grad_() for t in values]
    assert torch.autograd.gradcheck(lambda *t: apply(otfuse, t, activation), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: apply(otfuse, t, activation), inputs)


def test_opcheck_compile_autocast(compiled: object, rng: np.random.Generator) -> None:
    weight, bias, added, *inputs = tensors(rng, (4, 6), (2, 1), 3, (3, 3), torch.float32)
    arguments = (inputs, weight.requires_grad_(), bias, added, "relu")
    torch.library.opcheck(torch.ops.otfuse.conv_thin.default, arguments)
    expected = ops.conv_thin(*arguments)

    def layer(weight: Tensor) -> Tensor:
        return otfuse.conv_thin(inputs, weight, bias, added=added, activation="relu")

    actual = compiled(layer)(weight)
    assert_close(actual, expected, "compiled")
    (grad,) = torch.autograd.grad(actual.sum(), weight)
    (truth,) = torch.autograd.grad(expected.sum(), weight)
    assert_close(grad, truth, "compiled gradient")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(weight.bfloat16()).dtype == torch.float32


X, W = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X, W), {"activation": "tanh"}, "activation must be one of"),
        (([], W), {}, "inputs must be at least one array"),
        ((X, W[0, 0]), {}, "weight must have shape"),
        ((X, W[..., :2]), {}, r"weight must have odd extents, got \(3, 2\)"),
        ((X, torch.ones(1, 3, 83, 3)), {}, "weight must span at most 81 rows"),
        ((X[0], W), {}, "inputs must have 4 axes"),
        (([X, X[..., :7]], W), {}, "inputs must differ in channels only"),
        ((X[..., :0], W), {}, "inputs must not have an empty axis"),
        (([X, X], W), {}, "inputs must have the 3 channels that weight takes, got 6"),
        ((X, W, torch.ones(3)), {}, r"bias must have shape \(4,\), got \(3,\)"),
        ((X, W), {"added": X}, r"added must have shape \(2, 1, 8, 8\)"),
        ((X, W.to("meta")), {}, "weight must be on the image's device"),
    ],
)
def test_rejects(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^conv_thin: {message}"):
        otfuse.conv_thin(*arguments, **options)


def test_rejects_kinds() -> None:
    with pytest.raises(TypeError, match="inputs must be real"):
        otfuse.conv_thin(X.to(torch.complex64), W)
    with pytest.raises(TypeError, match="weight must be a numpy"):
        otfuse.conv_thin(X, "weights")
