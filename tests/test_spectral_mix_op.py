# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::spectral_mix against torch.fft, its derivatives, and under every instruction set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import otfuse
from compare import assert_adjoint, assert_close, assert_same
from samples import by_name

pytestmark = pytest.mark.usefixtures("one_thread")

# Even and odd, prime, a single row or column, more than one block of lanes, one volume.
SHAPES = [
    (8, 16),
    (9, 7),
    (13, 29),
    (1, 1),
    (1, 8),
    (6, 1),
    (12, 45),
    (33, 40),
    (34, 67),
    (4, 5, 6),
]
CHANNELS = [(1, 1), (5, 2), (4, 9)]  # of result and argument


def arrays(
    shape: tuple[int, ...],
    channels: tuple[int, int],
    dtype: torch.dtype = torch.float64,
    batch: int = 3,
) -> tuple[torch.Tensor, torch.Tensor]:
    """An image and a symbol of no symmetry."""
    generator = torch.Generator().manual_seed(2)
    outs, ins = channels
    x = torch.randn(batch, ins, *shape, generator=generator, dtype=dtype)
    half = (*shape[:-1], shape[-1] // 2 + 1)
    symbol = torch.randn(outs, ins, *half, generator=generator, dtype=dtype.to_complex())
    return x, symbol


def plain(x: torch.Tensor, symbol: torch.Tensor) -> torch.Tensor:
    """The formula."""
    axes = tuple(range(2 - x.ndim, 0))
    spectrum = torch.fft.rfftn(x, dim=axes)
    mixed = torch.einsum("oi...,bi...->bo...", symbol, spectrum)
    return torch.fft.irfftn(mixed, s=x.shape[2:], dim=axes)


def op(x: torch.Tensor, symbol: torch.Tensor, adjoint: bool = False) -> torch.Tensor:
    """The op."""
    return torch.ops.otfuse.spectral_mix(x, symbol, adjoint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("channels", CHANNELS, ids=by_name)
@pytest.mark.parametrize("shape", SHAPES, ids=by_name)
def test_matches_the_formula(
    shape: tuple[int, ...], channels: tuple[int, int], dtype: torch.dtype
) -> None:
    x, symbol = (a.requires_grad_() for a in arrays(shape, channels, dtype))
    exact = x.detach().double(), symbol.detach().to(torch.complex128)
    x64, symbol64 = (a.requires_grad_() for a in exact)
    actual, expected = op(x, symbol), plain(x64, symbol64)
    assert actual.dtype == dtype
    assert_close(actual, expected, "result", factor=2)
    cotangent = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4))
    grads = torch.autograd.grad(actual, (x, symbol), cotangent.to(dtype))
    truths = torch.autograd.grad(expected, (x64, symbol64), cotangent.double())
    assert_close(grads[0], truths[0], "grad_x", factor=2)
    parts = (torch.view_as_real(a) for a in (grads[1], truths[1]))
    assert_close(*parts, "grad_symbol", factor=4)


@pytest.mark.parametrize("shape", [(9, 7), (12, 10), (4, 5, 6)], ids=by_name)
def test_adjoint(shape: tuple[int, ...]) -> None:
    x, symbol = arrays(shape, (5, 2))
    u = torch.randn(3, 5, *shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    assert_adjoint(op(x, symbol), u, x, op(u, symbol, True), "spectral_mix")


@pytest.mark.parametrize("shape", SHAPES[:3], ids=by_name)
def test_every_simd_level(shape: tuple[int, ...], simd_level: str) -> None:
    for dtype in (torch.float32, torch.float64):
        x, symbol = (a.requires_grad_() for a in arrays(shape, (5, 2), dtype))
        actual = op(x, symbol)
        assert_close(actual, plain(x, symbol), simd_level, factor=4)
        (grad,) = torch.autograd.grad(actual.sum(), symbol)
        (truth,) = torch.autograd.grad(plain(x, symbol).sum(), symbol)
        parts = (torch.view_as_real(a) for a in (grad, truth))
        assert_close(*parts, f"{simd_level} grad_symbol", factor=8)


def test_threads_do_not_matter(set_threads: Callable[[int], None]) -> None:
    x, symbol = arrays((40, 36), (5, 2), torch.float32, batch=7)
    runs = []
    for n in (1, 2, 3):
        set_threads(n)
        runs.append((op(x, symbol), torch.ops.otfuse.spectral_mix_symbol(x, op(x, symbol))))
    for run in runs[1:]:
        assert_same(run[0], runs[0][0], "result")
        assert_same(torch.view_as_real(run[1]), torch.view_as_real(runs[0][1]), "grad_symbol")


def test_a_batch_in_several_parts() -> None:
    """More spectra than are kept at once."""
    x, symbol = arrays((128, 128), (8, 8), torch.float64, batch=13)
    assert_close(op(x, symbol), plain(x, symbol), "result", factor=2)
    grad = torch.ops.otfuse.spectral_mix_symbol(x, x)
    alone = sum(torch.ops.otfuse.spectral_mix_symbol(x[i : i + 1], x[i : i + 1]) for i in range(13))
    assert_close(torch.view_as_real(grad), torch.view_as_real(alone), "grad_symbol")


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (2, 3, 4)], ids=by_name)
def test_gradcheck(shape: tuple[int, ...]) -> None:
    x, symbol = (a.requires_grad_() for a in arrays(shape, (2, 3), batch=2))
    u = torch.randn(2, 2, *shape, dtype=x.dtype).requires_grad_()
    assert torch.autograd.gradcheck(op, (x, symbol))
    assert torch.autograd.gradgradcheck(op, (x, symbol))
    assert torch.autograd.gradcheck(lambda v, m: op(v, m, True), (u, symbol))
    assert torch.autograd.gradcheck(torch.ops.otfuse.spectral_mix_symbol, (x, u))


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4)], ids=by_name)
def test_opcheck(shape: tuple[int, ...]) -> None:
    x, symbol = arrays(shape, (2, 3), torch.float32)
    u = op(x, symbol)
    torch.library.opcheck(
        torch.ops.otfuse.spectral_mix.default,
        (x.clone().requires_grad_(), symbol.clone().requires_grad_(), False),
    )
    torch.library.opcheck(
        torch.ops.otfuse.spectral_mix.default, (u, symbol.clone().requires_grad_(), True)
    )
    torch.library.opcheck(
        torch.ops.otfuse.spectral_mix_symbol.default, (x.clone().requires_grad_(), u)
    )


def test_strided_and_conjugate_arguments() -> None:
    x, symbol = arrays((8, 9), (4, 4))
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert_close(op(turned, symbol.conj()), plain(x, symbol.conj()), "strided")


def test_compile(compiled: Callable) -> None:
    x, _ = arrays((8, 10), (3, 2), torch.float32)
    weight = torch.randn(3, 3, 3, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    step = compiled(lambda x, w: otfuse.spectral_mix(x, w))
    actual, expected = step(x, weight), otfuse.spectral_mix(x, weight)
    assert_close(actual, expected, "compiled")
    (grad,) = torch.autograd.grad(actual.square().sum(), weight)
    (truth,) = torch.autograd.grad(expected.square().sum(), weight)
    assert_close(grad, truth, "compiled gradient", factor=16)
