# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::spectral_mix_factors against otfuse::spectral_mix of the symbol that the factors make."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from compare import assert_adjoint, assert_close, assert_same
from otfuse.ops.spectral_mix import by_symbol
from samples import by_name
from test_spectral_mix_op import CHANNELS, SHAPES, plain

pytestmark = pytest.mark.usefixtures("one_thread")

TERMS = 5


def arrays(
    shape: tuple[int, ...],
    channels: tuple[int, int],
    dtype: torch.dtype = torch.float64,
    batch: int = 3,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An image, weights and a basis: a real term, an imaginary one, one that is partly 0."""
    generator = torch.Generator().manual_seed(5)
    outs, ins = channels
    x = torch.randn(batch, ins, *shape, generator=generator, dtype=dtype)
    weight = torch.randn(outs, ins, TERMS, generator=generator, dtype=dtype)
    half = (*shape[:-1], shape[-1] // 2 + 1)
    basis = torch.randn(TERMS, *half, 2, generator=generator, dtype=dtype)
    basis[0, ..., 1] = 0
    basis[1, ..., 0] = 0
    basis[2, ..., half[-1] // 2 :, :] = 0
    return x, weight, basis


def op(
    x: torch.Tensor, weight: torch.Tensor, basis: torch.Tensor, adjoint: bool = False
) -> torch.Tensor:
    """The op."""
    return torch.ops.otfuse.spectral_mix_factors(x, weight, basis, adjoint)


def formula(x: torch.Tensor, weight: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """The symbol, and what torch.fft makes of it."""
    symbol = torch.einsum("oit,t...->oi...", weight, basis)
    return plain(x, torch.view_as_complex(symbol.contiguous()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("channels", CHANNELS, ids=by_name)
@pytest.mark.parametrize("shape", SHAPES, ids=by_name)
def test_matches_the_formula(
    shape: tuple[int, ...], channels: tuple[int, int], dtype: torch.dtype
) -> None:
    given = [a.requires_grad_() for a in arrays(shape, channels, dtype)]
    exact = [a.detach().double().requires_grad_() for a in given]
    actual, expected = op(*given), formula(*exact)
    assert actual.dtype == dtype
    assert_close(actual, expected, "result", factor=2)
    cotangent = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4))
    grads = torch.autograd.grad(actual, given, cotangent.to(dtype))
    truths = torch.autograd.grad(expected, exact, cotangent.double())
    for name, grad, truth in zip(("x", "weight", "basis"), grads, truths, strict=True):
        assert_close(grad, truth, f"gradient in {name}", factor=8)


@pytest.mark.parametrize("shape", [(9, 7), (12, 10), (40, 36), (4, 5, 6)], ids=by_name)
def test_adjoint(shape: tuple[int, ...]) -> None:
    x, weight, basis = arrays(shape, (5, 2))
    u = torch.randn(3, 5, *shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    assert_adjoint(op(x, weight, basis), u, x, op(u, weight, basis, True), "factors")


@pytest.mark.parametrize("shape", [*SHAPES[:3], (6, 70)], ids=by_name)
def test_every_simd_level(shape: tuple[int, ...], simd_level: str) -> None:
    for dtype in (torch.float32, torch.float64):
        given = arrays(shape, (5, 2), dtype)
        assert_close(op(*given), formula(*(a.double() for a in given)), simd_level, factor=4)


def test_threads_do_not_matter(set_threads: Callable[[int], None]) -> None:
    given = arrays((40, 36), (5, 2), torch.float32, batch=7)
    runs = []
    for n in (1, 2, 3):
        set_threads(n)
        runs.append(op(*given))
    for run in runs[1:]:
        assert_same(run, runs[0], "result")


@pytest.mark.parametrize("shape", [(8, 10), (2, 3, 4)], ids=by_name)
def test_no_images(shape: tuple[int, ...]) -> None:
    """An empty batch gives one, and gradients that are 0."""
    x, weight, basis = (a.requires_grad_() for a in arrays(shape, (5, 2), batch=0))
    y = op(x, weight, basis)
    assert y.shape == (0, 5, *shape)
    grads = torch.autograd.grad(y.sum(), (x, weight, basis))
    assert [g.shape for g in grads] == [x.shape, weight.shape, basis.shape]
    assert not any(g.any() for g in grads)


def test_no_terms_no_result() -> None:
    x, weight, basis = arrays((8, 10), (5, 2))
    assert not op(x, weight[..., :0], basis[:0]).any()


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (2, 3, 4)], ids=by_name)
def test_gradcheck(shape: tuple[int, ...]) -> None:
    x, weight, basis = (a.requires_grad_() for a in arrays(shape, (2, 3), batch=2))
    u = torch.randn(2, 2, *shape, dtype=x.dtype).requires_grad_()
    assert torch.autograd.gradcheck(op, (x, weight, basis))
    assert torch.autograd.gradgradcheck(op, (x, weight, basis))
    assert torch.autograd.gradcheck(lambda *given: op(*given, True), (u, weight, basis))


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4)], ids=by_name)
def test_opcheck(shape: tuple[int, ...]) -> None:
    x, weight, basis = (a.requires_grad_() for a in arrays(shape, (2, 3), torch.float32))
    u = op(x, weight, basis).detach()
    opcheck = torch.library.opcheck
    opcheck(torch.ops.otfuse.spectral_mix_factors.default, (x, weight, basis, False))
    opcheck(torch.ops.otfuse.spectral_mix_factors.default, (u, weight, basis, True))


@pytest.mark.parametrize("adjoint", [False, True])
def test_what_serves_other_devices(adjoint: bool) -> None:
    x, weight, basis = arrays((9, 7), (4, 4))
    assert_close(by_symbol(x, weight, basis, adjoint), op(x, weight, basis, adjoint), "by symbol")


def test_strided_arguments() -> None:
    x, weight, basis = arrays((8, 9), (4, 4))
    turned = [a.transpose(0, 1).contiguous().transpose(0, 1) for a in (x, weight, basis)]
    assert_close(op(*turned), formula(x, weight, basis), "strided")
