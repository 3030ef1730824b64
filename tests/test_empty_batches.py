# SPDX-License-Identifier: BSD-3-Clause
"""Batches without an item, as a loader's last one or a selection may be: results without one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import otfuse
import otfuse.nn

pytestmark = pytest.mark.usefixtures("one_thread")

PSF = torch.ones(3, 4)

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "fft_convolve": lambda x: otfuse.fft_convolve(x, PSF),
    "fft_conv2d": lambda x: otfuse.fft_conv2d(x, torch.ones(2, 2, 3, 3), padding="same"),
    "richardson_lucy": lambda x: otfuse.richardson_lucy(x, PSF, 2, mask=x >= 0),
    "devices": lambda x: otfuse.richardson_lucy(x, PSF, 2, devices=["cpu"]),
    "multiview": lambda x: otfuse.multiview_richardson_lucy([x, x], [PSF, PSF], 2),
    "blind": lambda x: otfuse.blind_richardson_lucy(x, PSF, 2).estimate,
    "space_varying": lambda x: otfuse.space_varying_richardson_lucy(x, PSF[None, None], 2),
    "landweber": lambda x: otfuse.landweber(x, PSF, 2),
    "wiener": lambda x: otfuse.wiener(x, PSF, balance=0.1),
    "tikhonov": lambda x: otfuse.tikhonov(x, PSF, strength=0.1, order=2),
    "spectral_mix": lambda x: otfuse.spectral_mix(x, torch.ones(3, 3, 2, 2)),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions(function: Callable[[Tensor], Tensor]) -> None:
    image = torch.ones(0, 2, 8, 9)
    assert function(image).shape == image.shape


def test_convolutions_have_torchs_gradients() -> None:
    found = []
    for conv in (otfuse.fft_conv2d, nn.functional.conv2d):
        image = torch.ones(0, 3, 6, 7, requires_grad=True)
        weight = torch.ones(4, 3, 3, 3, requires_grad=True)
        out = conv(image, weight, torch.arange(4.0))
        out.sum().backward()
        found.append((out, image.grad, weight.grad))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_wiener_is_differentiable() -> None:
    psf = PSF.clone().requires_grad_()
    otfuse.wiener(torch.ones(0, 8, 9), psf, balance=0.1).sum().backward()
    assert torch.equal(psf.grad, torch.zeros(3, 4))


@pytest.mark.parametrize("shape", [(8, 9), (4, 5, 6)], ids=["2d", "3d"])
def test_symbols_have_gradients(shape: tuple[int, ...]) -> None:
    image = torch.ones(0, 2, *shape, requires_grad=True)
    weight = torch.ones(3, 1 + len(shape), 4, 2, requires_grad=True)
    out = otfuse.spectral_mix(image, weight)
    assert out.shape == (0, 4, *shape)
    out.sum().backward()
    assert torch.equal(weight.grad, torch.zeros_like(weight))


def test_networks() -> None:
    image = torch.ones(0, 1, 16, 16)
    assert otfuse.nn.MRBCR(frequency=True)(image)[0].shape == image.shape
    volume = torch.ones(0, 1, 4, 4, 4)
    network = otfuse.nn.RLN().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert network(volume).shape == volume.shape
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
