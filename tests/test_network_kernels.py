# SPDX-License-Identifier: BSD-3-Clause
"""The networks' CUDA kernels, run on the host with the threads of a block in both orders.

As in test_cuda_kernels.py, whose fixtures these are; and what stands in where there are no kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import test_conv_thin as convolutions
import test_pixel_mlp as dense
import test_spectral_mix_op as mixing
import test_thin_network as programs
from compare import assert_close, assert_same
from otfuse import _C, ops, reference
from otfuse.functional import rln
from otfuse.nn import MRBCR, RLN
from otfuse.ops import _mix_by_torch, _thin_by_torch
from otfuse.ops._device import Device
from otfuse.ops.conv_thin_cuda import conv_thin_on
from otfuse.ops.pixel_mlp_cuda import pixel_mlp_on
from otfuse.ops.rln_cuda import rln_on
from otfuse.ops.spectral_mix_cuda import spectral_mix_on, spectral_mix_symbol_on
from otfuse.ops.thin_network_cuda import thin_network_on
from samples import by_name
from test_rln import DEPTH, made_up, volume
from test_rln_core import EXTENTS

host = pytest.importorskip(
    "otfuse._host_kernels", reason="built without OTFUSE_HOST_KERNELS", exc_type=ImportError
)
pytestmark = pytest.mark.usefixtures("one_thread")

FORWARD, REVERSED = 0, 1
HOPPER, ADA = 232_448, 101_376  # bytes of shared memory that a block may have
DTYPES = [torch.float32, torch.float64]


def both_orders(
    body: Callable[..., Any], *arguments: object, shared: int = HOPPER
) -> list[torch.Tensor]:
    """Run with the threads forward and reversed; fail where that matters."""
    results = []
    for order in (FORWARD, REVERSED):
        result = body(Device(host, order, shared), *arguments)
        results.append(result if isinstance(result, list) else [result])
    for forward, reversed_ in zip(*results, strict=True):
        assert_same(*map(as_real, (reversed_, forward)), "threads reversed")
    return results[0]


def as_real(array: torch.Tensor) -> torch.Tensor:
    """Return complex numbers as pairs."""
    return torch.view_as_real(array) if array.is_complex() else array


MORE_SHAPES = [
    ((33, 70), (20, 13), 32, (3, 3)),  # several tiles; channels in groups of four warps
    ((9, 40), (3,), 20, (1, 11)),  # more columns of the kernel than are staged at once
    ((3, 8, 33), (2,) * 9, 49, (3, 5, 1)),  # more inputs than a kernel takes
    ((2, 3, 70), (2,), 3, (9, 9, 13)),
    ((90, 12), (1,), 2, (81, 3)),
]


@pytest.mark.parametrize("activation", ["none", "relu", "softplus"])
@pytest.mark.parametrize("shape", [*convolutions.SHAPES, *MORE_SHAPES], ids=str)
def test_conv_thin(shape: tuple, activation: str, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        weight, bias, added, *inputs = convolutions.tensors(rng, *shape, dtype)
        arguments = (inputs, weight, bias, added, activation)
        exact = [t.double() for t in (weight, bias, added, *inputs)]
        truth = convolutions.apply(reference, exact, activation)
        (found,) = both_orders(conv_thin_on, *arguments)
        assert_close(found, truth, f"{dtype}")
        if shape not in MORE_SHAPES:
            assert_close(_thin_by_torch.conv_thin(*arguments), truth, f"{dtype}, by torch")


def test_conv_thin_without_bias_or_added(rng: np.random.Generator) -> None:
    weight, _, _, x = convolutions.tensors(rng, (8, 9), (4,), 6, (3, 3), torch.float32)
    (found,) = both_orders(conv_thin_on, [x], weight, None, None, "none", shared=ADA)
    assert_close(found, reference.conv_thin(x.double(), weight.double()), "a single input")


def test_conv_thin_of_nothing() -> None:
    x, weight = torch.ones(0, 3, 5, 5), torch.ones(4, 3, 3, 3)
    assert both_orders(conv_thin_on, [x], weight, None, None, "relu")[0].shape == (0, 4, 5, 5)


MORE_LAYERS = [
    ((3, 90), (5, 70, 40, 33)),
    ((4,), (1, *[2] * 70)),  # more layers than a kernel takes
    ((9,), (2, 150, 3)),  # wider than shared memory
]


@pytest.mark.parametrize("shape", [*dense.SHAPES, *MORE_LAYERS], ids=by_name)
def test_pixel_mlp(shape: tuple, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        x, weights, biases = dense.tensors(rng, *shape, dtype)
        exact = x.double(), [w.double() for w in weights], [b.double() for b in biases]
        truth = reference.pixel_mlp(*exact)
        (found,) = both_orders(pixel_mlp_on, x, weights, biases)
        assert_close(found, truth, f"{dtype}", factor=4)
        by_torch = _thin_by_torch.pixel_mlp(x, weights, biases)
        assert_close(by_torch, truth, f"{dtype}, by torch", factor=4)


@pytest.mark.parametrize("shape", [(3, 1, 16, 20), (1, 1, 72, 68), (2, 1, 4, 4)], ids=by_name)
def test_thin_network(shape: tuple, rng: np.random.Generator) -> None:
    program, code = programs.build()
    for dtype in DTYPES:
        image, weights = programs.draw(rng, shape, dtype)
        exact = {name: w.double() for name, w in weights.items()}
        truth = programs.expected(image.double(), exact)
        parameters = [weights[f"{n}.{k}"] for n in program.layers for k in ("weight", "bias")]
        found = both_orders(thin_network_on, image, parameters, code)
        for i, (a, b) in enumerate(zip(found, truth, strict=True)):
            assert_close(a, b, f"output {i}", factor=4)


def test_thin_network_refuses_what_does_not_fit(rng: np.random.Generator) -> None:
    image, weights = programs.draw(rng, (1, 1, 8, 10), torch.float32)
    program, code = programs.build()
    parameters = [weights[f"{n}.{k}"] for n in program.layers for k in ("weight", "bias")]
    device = Device(host, FORWARD, HOPPER)
    with pytest.raises(ValueError, match="run on images whose extents its levels divide"):
        thin_network_on(device, image, parameters, code)


def test_mrbcr(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """The whole network, as it runs on a device."""
    network, image = MRBCR(), torch.from_numpy(rng.random((2, 1, 20, 36))).float()
    expected = network.double()(image.double())
    with torch.no_grad():
        network.float()
        device = Device(host, REVERSED, HOPPER)
        monkeypatch.setattr(ops, "thin_network", lambda *rest: thin_network_on(device, *rest))
        for a, b in zip(network(image), expected, strict=True):
            assert_close(a, b, "scale", factor=32)


@pytest.mark.parametrize("adjoint", [False, True], ids=["forward", "adjoint"])
@pytest.mark.parametrize("channels", mixing.CHANNELS, ids=by_name)
@pytest.mark.parametrize("shape", [*mixing.SHAPES, (5, 1, 6), (3, 7, 1)], ids=by_name)
def test_spectral_mix(shape: tuple, channels: tuple[int, int], adjoint: bool) -> None:
    """Passes where all extents are smooth, else torch; symbols of no symmetry."""
    for dtype in DTYPES:
        x, symbol = mixing.arrays(shape, channels, dtype, batch=5)
        if adjoint:
            symbol = symbol.transpose(0, 1).contiguous()
        exact = x.double(), symbol.to(torch.complex128)
        (found,) = both_orders(spectral_mix_on, x, symbol, adjoint)
        truth = _mix_by_torch.spectral_mix(*exact, adjoint)
        assert_close(found, truth, f"{dtype}", factor=2)
        (slope,) = both_orders(spectral_mix_symbol_on, x, found)
        truth = _mix_by_torch.spectral_mix_symbol(exact[0], found.double())
        assert_close(as_real(slope), as_real(truth), f"{dtype}, symbol", factor=4)


def test_spectral_mix_of_nothing() -> None:
    x, symbol = mixing.arrays((6, 8), (2, 3), torch.float32, batch=0)
    (found,) = both_orders(spectral_mix_on, x, symbol, False)
    assert found.shape == (0, 2, 6, 8)
    assert not both_orders(spectral_mix_symbol_on, x, found)[0].abs().any()


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("extents", EXTENTS, ids=by_name)
def test_rln(extents: tuple, views: int, rng: np.random.Generator) -> None:
    network = made_up(rng, torch.float32, views=views)
    image = volume(rng, 2, views, *extents, dtype=torch.float32)
    weights = {name: values.double() for name, values in network.state_dict().items()}
    expected = reference.rln(image.double(), weights)["first"]
    (actual,) = both_orders(rln_on, image, network.packed_weights(), 1e-4, shared=ADA)
    assert_close(actual, expected, "prediction", factor=DEPTH)
    assert_close(actual, rln(image, network.packed_weights()), "as on the CPU", factor=DEPTH)


def test_rln_refuses_other_weights() -> None:
    device, image = Device(host, FORWARD, HOPPER), torch.zeros(1, 2, 4, 4, 4)
    with pytest.raises(ValueError, match=r"rln: weights must hold \d+ floats, got \d+"):
        rln_on(device, image, RLN().packed_weights(), 1e-4)


def test_networks_go_where_the_kernels_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the core on a device that it was built for, else to plain torch."""
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 1)
    for module, expected in ((None, False), (host, True)):
        monkeypatch.setattr(_C, "cuda", module)
        assert ops.has_kernels(cuda) is expected
        assert ops.has_kernels(cpu)
        assert not ops.has_kernels(torch.device("meta"))
