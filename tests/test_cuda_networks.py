# SPDX-License-Identifier: BSD-3-Clause
"""The networks and their ops on a CUDA device: answers, derivatives, streams, graphs."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

import otfuse
import test_conv_thin as convolutions
import test_pixel_mlp as dense
import test_spectral_mix_op as mixing
from compare import assert_close, assert_same
from otfuse import reference
from otfuse.nn import MRBCR, RLN, FrequencyBlock
from samples import by_name
from test_rln import DEPTH, made_up, volume

importlib.import_module("otfuse.ops")

pytestmark = pytest.mark.cuda

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("shape", convolutions.SHAPES, ids=str)
def test_small_conv_thin(shape: tuple, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        values = [t.requires_grad_() for t in convolutions.tensors(rng, *shape, dtype)]
        exact = [t.detach().double().requires_grad_() for t in values]
        actual = convolutions.apply(otfuse, [t.cuda() for t in values], "softplus")
        expected = convolutions.apply(reference, exact, "softplus")
        assert_close(actual, expected, f"{dtype}")
        grads = torch.autograd.grad(actual.sum(), values)
        for grad, truth in zip(grads, torch.autograd.grad(expected.sum(), exact), strict=True):
            assert_close(grad, truth, f"{dtype}, gradient", factor=8)


@pytest.mark.parametrize("shape", dense.SHAPES, ids=by_name)
def test_small_pixel_mlp(shape: tuple, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        x, weights, biases = dense.tensors(rng, *shape, dtype)
        exact = x.double(), [w.double() for w in weights], [b.double() for b in biases]
        on_device = x.cuda(), [w.cuda() for w in weights], [b.cuda() for b in biases]
        actual = otfuse.pixel_mlp(*on_device)
        assert_close(actual, reference.pixel_mlp(*exact), f"{dtype}", factor=4)


@pytest.mark.parametrize("channels", mixing.CHANNELS, ids=by_name)
@pytest.mark.parametrize("shape", [*mixing.SHAPES, (128, 128), (192, 1000)], ids=by_name)
def test_small_spectral_mix(shape: tuple, channels: tuple[int, int]) -> None:
    for dtype in DTYPES:
        values = [a.requires_grad_() for a in mixing.arrays(shape, channels, dtype)]
        exact = [values[0].double(), values[1].to(torch.complex128)]
        actual = mixing.op(*(a.cuda() for a in values))
        expected = mixing.plain(*exact)
        assert_close(actual, expected, f"{dtype}", factor=2)
        grads = torch.autograd.grad(actual.square().sum(), values)
        truths = torch.autograd.grad(expected.square().sum(), values)
        assert_close(grads[0], truths[0], f"{dtype}, grad_x", factor=4)
        assert_close(*map(torch.view_as_real, (grads[1], truths[1])), "grad_symbol", factor=8)


def test_gradcheck() -> None:
    x, symbol = (a.cuda().requires_grad_() for a in mixing.arrays((3, 4), (2, 3), batch=2))
    assert torch.autograd.gradcheck(mixing.op, (x, symbol))
    assert torch.autograd.gradgradcheck(mixing.op, (x, symbol))
    image, weight = (
        torch.rand(shape, dtype=torch.float64, device="cuda", requires_grad=True)
        for shape in ((1, 2, 4, 3), (2, 2, 3, 3))
    )
    assert torch.autograd.gradcheck(otfuse.conv_thin, (image, weight))
    assert torch.autograd.gradgradcheck(otfuse.conv_thin, (image, weight))


def test_opcheck(rng: np.random.Generator) -> None:
    x, symbol = (a.cuda().requires_grad_() for a in mixing.arrays((5, 6), (2, 3), torch.float32))
    check = torch.library.opcheck
    check(torch.ops.otfuse.spectral_mix.default, (x, symbol, False))
    weight, bias, added, *inputs = (
        t.cuda() for t in convolutions.tensors(rng, (4, 6), (2, 1), 3, (3, 3), torch.float32)
    )
    check(torch.ops.otfuse.conv_thin.default, (inputs, weight, bias, added, "relu"))
    network, image = RLN().cuda().eval(), torch.rand(1, 1, 4, 5, 6, device="cuda")
    check(torch.ops.otfuse.rln.default, (image, network.packed_weights(), 1e-4))


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("extents", [(7, 9, 13), (21, 40, 66), (2, 3, 2)], ids=by_name)
def test_small_rln(extents: tuple, views: int, rng: np.random.Generator) -> None:
    network = made_up(rng, torch.float32, views=views)
    image = volume(rng, 2, views, *extents, dtype=torch.float32)
    weights = {name: values.double() for name, values in network.state_dict().items()}
    expected = reference.rln(image.double(), weights)["first"]
    network.cuda()
    with torch.no_grad():
        assert_close(network(image.cuda()), expected, "kernels", factor=DEPTH)
    assert network(image.cuda()).grad_fn is not None


@pytest.mark.parametrize("frequency", [False, True])
def test_mrbcr(frequency: bool, rng: np.random.Generator) -> None:
    network = MRBCR(frequency=frequency).eval()
    image = torch.from_numpy(rng.random((3, 1, 68, 100))).float()
    expected = network.double()(image.double())
    network.float().cuda()
    with torch.no_grad():
        found = network(image.cuda())
        again = network(image.cuda())
    for a, b, c in zip(found, expected, again, strict=True):
        assert_close(a, b, "scale", factor=64)
        assert_same(c, a, "again")


def test_training_steps(rng: np.random.Generator) -> None:
    """Gradients of every parameter, as on the CPU."""
    image = torch.from_numpy(rng.random((2, 1, 24, 32)))
    for network in (MRBCR().double(), MRBCR(frequency=True).double()):
        grads = []
        for device in ("cpu", "cuda"):
            network.to(device).zero_grad()
            sum(z.square().sum() for z in network(image.to(device))).backward()
            grads.append([p.grad.cpu() for p in network.parameters()])
        for a, b in zip(*grads, strict=True):
            assert_close(a, b, "gradient", factor=1000)


def test_compile(compiled: Callable, rng: np.random.Generator) -> None:
    block = FrequencyBlock(2, 3).cuda()
    x = torch.from_numpy(rng.random((2, 2, 12, 16))).float().cuda()
    assert_close(compiled(block)(x), block(x), "FrequencyBlock", factor=4)
    network = RLN().cuda().eval().requires_grad_(False)
    volume = torch.rand(1, 1, 6, 8, 10, device="cuda")
    assert_close(compiled(network)(volume), network(volume), "RLN", factor=4)


def test_streams_and_graphs() -> None:
    """On a stream of the caller's, and captured in a graph that is replayed with other images."""
    network = MRBCR().cuda().eval()
    images = [torch.rand(2, 1, 32, 48, device="cuda") for _ in range(3)]
    with torch.inference_mode():
        truths = [network(x)[0] for x in images]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            aside = network(images[0])[0]
        torch.cuda.current_stream().wait_stream(stream)
        assert_same(aside, truths[0], "on another stream")
        given, graph = images[0].clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = network(given)[0]
        for image, truth in zip(images, truths, strict=True):
            given.copy_(image)
            graph.replay()
            assert_same(result, truth, "replayed")
