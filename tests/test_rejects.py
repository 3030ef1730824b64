# SPDX-License-Identifier: BSD-3-Clause
"""Bad arguments: one row per error, with its type and what the message says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch

import otfuse

IMAGE = torch.ones(8, 9)
STACK = torch.ones(5, 8, 9)
PSF = torch.ones(3, 4)
NAN = torch.full((3, 4), float("nan"))
NAN_IMAGE = torch.full((8, 9), float("nan"))


class Case(NamedTuple):
    """What is called, and the error: its type, its beginning, and a word that it must hold."""

    name: str
    call: Callable[[], object]
    error: type[Exception]
    begins: str
    holds: str = ""


def with_value(array: torch.Tensor, value: float) -> torch.Tensor:
    """Return a copy of which one element is `value`."""
    out = array.clone()
    out[(1,) * out.ndim] = value
    return out


def rl(image: object = IMAGE, psf: object = PSF, n_iters: object = 2, **options: object) -> object:
    """Run Richardson-Lucy with one thing wrong."""
    return otfuse.richardson_lucy(image, psf, n_iters, **options)


def conv(image: object = IMAGE, psf: object = PSF, **options: object) -> object:
    """Convolve with one thing wrong."""
    return otfuse.fft_convolve(image, psf, **options)


OBJECTS = np.array([[1, None], [2, 3]], dtype=object)
INF, COMPLEX = float("inf"), torch.ones(8, 9, dtype=torch.complex64)
COMPLEX_PSF = torch.ones(3, 4, dtype=torch.complex64)

RL = "richardson_lucy: "
RICHARDSON_LUCY = [
    Case("nan-image", lambda: rl(with_value(IMAGE, float("nan"))), ValueError, RL + "image must"),
    Case("inf-image", lambda: rl(with_value(IMAGE, INF)), ValueError, RL + "image must", "finite"),
    Case("nan-psf", lambda: rl(psf=with_value(PSF, float("nan"))), ValueError, RL + "psf must"),
    Case("inf-psf", lambda: rl(psf=with_value(PSF, INF)), ValueError, RL + "psf must", "finite"),
    Case(
        "negative-image",
        lambda: rl(with_value(IMAGE, -12.5)),
        ValueError,
        RL + "image must not be negative, lowest value -12.5; ",
        "background=",
    ),
    Case(
        "negative-numpy-image",
        lambda: rl(np.full((8, 9), -3, np.int16)),
        ValueError,
        RL + "image must not be negative, lowest value -3",
        "clip",
    ),
    Case("zero-psf", lambda: rl(psf=torch.zeros(3, 4)), ValueError, RL + "psf must", "zero"),
    Case("negative-psf", lambda: rl(psf=with_value(PSF, -0.1)), ValueError, RL + "psf must"),
    Case("psf-1d", lambda: rl(psf=torch.ones(3)), ValueError, RL + "psf must"),
    Case("psf-4d", lambda: rl(psf=torch.ones(2, 2, 3, 3)), ValueError, RL + "psf must"),
    Case("psf-3d-image-2d", lambda: rl(psf=torch.ones(2, 3, 3)), ValueError, RL, "axes"),
    Case("psf-2d-ndim-3", lambda: rl(STACK, ndim=3), ValueError, RL, "axes"),
    Case("ndim-5", lambda: rl(ndim=5), ValueError, RL, "ndim"),
    Case(
        "psf-larger-than-image",
        lambda: rl(psf=torch.ones(9, 3), boundary="circular"),
        ValueError,
        RL + "psf must",
        "circular",
    ),
    Case("psf-on-meta", lambda: rl(psf=PSF.to("meta")), ValueError, RL + "psf must", "meta"),
    Case("image-on-meta", lambda: rl(IMAGE.to("meta")), ValueError, RL + "psf must", "meta"),
    Case("no-iterations", lambda: rl(n_iters=0), ValueError, RL + "n_iters must", "0"),
    Case("negative-iterations", lambda: rl(n_iters=-3), ValueError, RL + "n_iters must", "-3"),
    Case("half-an-iteration", lambda: rl(n_iters=2.5), TypeError, RL + "n_iters must", "2.5"),
    Case("complex-image", lambda: rl(COMPLEX), TypeError, RL + "image must", "complex64"),
    Case("complex-psf", lambda: rl(psf=COMPLEX_PSF), TypeError, RL + "psf must", "complex64"),
    Case("object-image", lambda: rl(OBJECTS), TypeError, RL + "image must", "object"),
    Case("object-psf", lambda: rl(psf=OBJECTS), TypeError, RL + "psf must", "object"),
    Case("text-image", lambda: rl("stack.tif"), TypeError, RL + "image must", "str"),
    Case("empty-image", lambda: rl(torch.ones(0, 9)), ValueError, RL + "image must", "empty"),
    Case("empty-psf", lambda: rl(psf=torch.ones(3, 0)), ValueError, RL + "psf must", "empty"),
    Case(
        "channels",
        lambda: rl(torch.ones(2, 3, 8, 9), torch.ones(4, 3, 3), ndim=2),
        ValueError,
        RL + "psf must",
        "(4,)",
    ),
    Case("boundary", lambda: rl(boundary="mirror"), ValueError, RL + "boundary must", "'mirror'"),
    Case(
        "acceleration",
        lambda: rl(acceleration="fast"),
        ValueError,
        RL + "acceleration must",
        "fast",
    ),
    Case("back-projector", lambda: rl(back_projector="x"), ValueError, RL + "back_projector must"),
    Case("init", lambda: rl(init="flat"), ValueError, RL + "init must", "'flat'"),
    Case("init-shape", lambda: rl(init=torch.ones(7, 9)), ValueError, RL + "init must", "(7, 9)"),
    Case("init-nan", lambda: rl(init=NAN_IMAGE), ValueError, RL + "init must"),
    Case("init-negative", lambda: rl(init=-IMAGE), ValueError, RL + "init must", "negative"),
    Case("mask-shape", lambda: rl(mask=torch.ones(7, 9)), ValueError, RL + "mask must", "(7, 9)"),
    Case("stop", lambda: rl(stop="soon"), ValueError, RL + "stop must", "'soon'"),
    Case("background", lambda: rl(background=float("nan")), ValueError, RL + "background must"),
]

FC = "fft_convolve: "
FFT_CONVOLVE = [
    Case("nan-image", lambda: conv(with_value(IMAGE, float("nan"))), ValueError, FC + "image must"),
    Case("inf-psf", lambda: conv(psf=with_value(PSF, INF)), ValueError, FC + "psf must", "finite"),
    Case("psf-1d", lambda: conv(psf=torch.ones(3)), ValueError, FC + "psf must"),
    Case("psf-3d-image-2d", lambda: conv(psf=torch.ones(2, 3, 3)), ValueError, FC, "axes"),
    Case("psf-larger", lambda: conv(psf=torch.ones(9, 3)), ValueError, FC + "psf must", "circular"),
    Case(
        "nothing-left",
        lambda: conv(psf=torch.ones(9, 3), boundary="extended"),
        ValueError,
        FC,
        "extended",
    ),
    Case("psf-on-meta", lambda: conv(psf=PSF.to("meta")), ValueError, FC + "psf must", "meta"),
    Case("complex-image", lambda: conv(COMPLEX), TypeError, FC + "image must", "complex64"),
    Case("complex-psf", lambda: conv(psf=COMPLEX_PSF), TypeError, FC + "psf must", "complex64"),
    Case("object-image", lambda: conv(OBJECTS), TypeError, FC + "image must", "object"),
    Case("empty-image", lambda: conv(torch.ones(0, 9)), ValueError, FC + "image must", "empty"),
    Case("empty-psf", lambda: conv(psf=torch.ones(3, 0)), ValueError, FC + "psf must", "empty"),
    Case("boundary", lambda: conv(boundary="same"), ValueError, FC + "boundary must", "'same'"),
    Case(
        "channels",
        lambda: conv(torch.ones(2, 3, 8, 9), torch.ones(4, 3, 3), ndim=2),
        ValueError,
        FC + "psf must",
        "(4,)",
    ),
    Case(
        "otf-of-another-shape",
        lambda: conv(IMAGE, otfuse.Otf(PSF, (8, 10))),
        ValueError,
        FC,
        "(8, 10)",
    ),
    Case(
        "otf-psf-larger",
        lambda: otfuse.Otf(torch.ones(9, 3), (8, 9)),
        ValueError,
        "Otf: psf must",
        "circular",
    ),
]

CHANNELS = torch.ones(1, 4, 8, 9)
KERNEL = torch.ones(6, 4, 3, 3)
C2 = "fft_conv2d: "


def conv2d(image: object = CHANNELS, weight: object = KERNEL, **options: object) -> object:
    """Run fft_conv2d with one thing wrong."""
    return otfuse.fft_conv2d(image, weight, **options)


FFT_CONV = [
    Case("channels", lambda: conv2d(weight=torch.ones(6, 3, 3, 3)), ValueError, C2 + "weight must"),
    Case("rank", lambda: conv2d(torch.ones(8, 9)), ValueError, C2 + "input must"),
    Case("weight-rank", lambda: conv2d(weight=torch.ones(4, 3, 3)), ValueError, C2, "weight"),
    Case("groups", lambda: conv2d(groups=3), ValueError, C2, "groups 3"),
    Case("stride", lambda: conv2d(stride=0), ValueError, C2 + "stride must", "0"),
    Case("dilation", lambda: conv2d(dilation=(1, 0)), ValueError, C2 + "dilation must"),
    Case("padding", lambda: conv2d(padding=-1), ValueError, C2 + "padding must", "-1"),
    Case("padding-word", lambda: conv2d(padding="full"), ValueError, C2 + "padding must", "'full'"),
    Case("same-stride", lambda: conv2d(padding="same", stride=2), ValueError, C2, "stride"),
    Case(
        "too-large", lambda: conv2d(weight=torch.ones(6, 4, 9, 3)), ValueError, C2 + "weight must"
    ),
    Case("bias", lambda: conv2d(bias=torch.ones(5)), ValueError, C2 + "bias must"),
    Case("numpy-bias", lambda: conv2d(bias=np.ones(5)), TypeError, C2 + "bias must be a real"),
    Case(
        "bias-on-meta",
        lambda: conv2d(bias=torch.ones(5, device="meta")),
        ValueError,
        C2 + "bias must be on",
    ),
    Case("half-a-stride", lambda: conv2d(stride=1.5), ValueError, C2 + "stride must be one or 2"),
    Case("complex", lambda: conv2d(CHANNELS + 1j), TypeError, C2 + "input must", "complex64"),
]

OTHERS = [
    Case(
        "ratio-mode",
        lambda: otfuse.rl_ratio(IMAGE, IMAGE, mode="max"),
        ValueError,
        "rl_ratio: mode must",
        "'max'",
    ),
    Case(
        "ratio-shape",
        lambda: otfuse.rl_ratio(IMAGE, torch.ones(7, 9)),
        ValueError,
        "rl_ratio: ",
        "(7, 9)",
    ),
    Case(
        "ratio-complex",
        lambda: otfuse.rl_ratio(COMPLEX, IMAGE),
        TypeError,
        "rl_ratio: image must",
        "complex64",
    ),
    Case(
        "update-shape",
        lambda: otfuse.rl_update(IMAGE, torch.ones(7, 9)),
        ValueError,
        "rl_update: ",
        "(7, 9)",
    ),
    Case(
        "wiener-balance",
        lambda: otfuse.wiener(IMAGE, PSF, balance=-1.0),
        ValueError,
        "wiener: balance must",
        "-1",
    ),
    Case(
        "wiener-boundary",
        lambda: otfuse.wiener(IMAGE, PSF, balance=0.1, boundary="mirror"),
        ValueError,
        "wiener: boundary must",
        "'mirror'",
    ),
    Case(
        "wiener-nan",
        lambda: otfuse.wiener(IMAGE, NAN, balance=0.1),
        ValueError,
        "wiener: psf must",
        "finite",
    ),
    Case(
        "wiener-complex",
        lambda: otfuse.wiener(COMPLEX, PSF, balance=0.1),
        TypeError,
        "wiener: image must",
        "complex64",
    ),
    Case(
        "fast-shape-zero",
        lambda: otfuse.next_fast_shape((4, 0)),
        ValueError,
        "next_fast_shape: shape must",
        "0",
    ),
    Case(
        "plan-rank",
        lambda: otfuse.plan_richardson_lucy((8, 9), (3, 3, 3)),
        ValueError,
        "plan_richardson_lucy: psf_shape must",
    ),
    Case(
        "plan-larger",
        lambda: otfuse.plan_richardson_lucy((8, 9), (9, 3), boundary="circular"),
        ValueError,
        "plan_richardson_lucy: psf",
        "circular",
    ),
    Case(
        "plan-boundary",
        lambda: otfuse.plan_richardson_lucy((8, 9), (3, 3), boundary="mirror"),
        ValueError,
        "plan_richardson_lucy: boundary must",
        "'mirror'",
    ),
]


def check(case: Case) -> None:
    """Call, and hold the message against its form and its row."""
    with pytest.raises(case.error) as caught:
        case.call()
    message = str(caught.value)
    assert message.startswith(case.begins)
    assert case.holds in message
    assert " must " in message
    assert "\n" not in message
    assert not message.endswith(".")


@pytest.mark.parametrize("case", RICHARDSON_LUCY, ids=lambda c: c.name)
def test_richardson_lucy(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", FFT_CONVOLVE, ids=lambda c: c.name)
def test_fft_convolve(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", FFT_CONV, ids=lambda c: c.name)
def test_fft_conv(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", OTHERS, ids=lambda c: c.name)
def test_others(case: Case) -> None:
    check(case)
