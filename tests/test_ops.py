# SPDX-License-Identifier: BSD-3-Clause
"""What torch does with the ops: opcheck, torch.compile, vmap, autocast."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from conftest import OnDevice
from op_arguments import (
    consensus_arguments,
    convolve_add_arguments,
    in_place,
    nodes_arguments,
    psf_terms_arguments,
    tensors,
    views_arguments,
)
from otfuse import reference
from otfuse.nn import RLN
from samples import BOUNDARIES, Sample, image_of, lopsided_psf

# The ops are registered when they are first needed.
importlib.import_module("otfuse.ops")

pytestmark = pytest.mark.usefixtures("one_thread")


def domain(sample: Sample, boundary: str) -> tuple[int, ...]:
    """Return the extents that go into the operator."""
    return sample.extended if boundary == "extended" else sample.image


def fft_convolve_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """Two images, one kernel each or one for both, forward and adjoint, periodic and cropped."""
    image, one, two = tensors(rng, (2, 6, 7), (1, 3, 4), (2, 3, 4))
    periodic = ((6, 7), False, (0, 0), (-1, -2), (0, 0), (6, 7))
    cropped = ((6, 7), True, (-1, -1), (-1, -2), (0, 0), (4, 4))
    return [
        (image, one, None, 1, *periodic, False),
        (image, two, None, 1, *periodic, True),
        (image, one.detach(), None, 1, *cropped, False),
    ]


def richardson_lucy_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """Periodic and with edges, each acceleration, to the end and to go on, with all extras."""
    image, kernel, small, large = tensors(rng, (2, 6, 7), (1, 3, 4), (2, 6, 7), (2, 8, 10))
    change, back, more = tensors(rng, (2, 8, 10), (1, 3, 4), (2, 6, 7))
    floor, judged = tensors(rng, (2,), (2, 6, 7), grad=False)
    floor = 1e-6 * floor
    periodic = (1, (6, 7), False, (-1, -2), (0, 0), 0.5, 0.0)
    edges = (1, (9, 11), True, (-1, -2), (-1, -1), 0.5, 0.1)
    plain, unit = (floor, None, None), (1.0, 1.0)
    extra, shared = (floor, more, judged), (image, kernel, None)
    tensors_settings = [
        (
            (None, small, None, None, *plain),
            (*periodic, 3, 0, "none", 0.0, unit, False, False, False),
        ),
        ((None, large, None, None, *plain), (*edges, 3, 0, "shb", 0.0, unit, True, True, False)),
        ((None, large, large, None, *plain), (*edges, 2, 3, "shb", 0.0, unit, True, False, False)),
        (
            (back, large, None, None, *extra),
            (*edges, 3, 0, "none", 0.05, (0.3, 0.1), True, True, False),
        ),
        (
            (None, large, large, change, *extra),
            (*edges, 3, 2, "biggs", 0.05, (0.3, 0.1), True, True, False),
        ),
    ]
    return [(*shared, *given, *settings) for given, settings in tensors_settings]


def backward_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """The gradients of some of the runs above; of no further derivative."""
    runs = richardson_lucy_arguments(rng)
    found = []
    for run in (runs[0], runs[1], runs[3]):
        run = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in run)
        shape = run[4].shape if run[-2] else run[0].shape
        (grad,) = tensors(rng, tuple(shape), grad=False)
        found += [(grad, None, None, *run, True, False), (grad, None, None, *run, False, True)]
    return found


def make_otf_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """One kernel, and three of them in 3-D."""
    one, three = tensors(rng, (1, 3, 4), (3, 2, 3, 4), grad=False)
    return [(one, (6, 7), False, (-1, -2)), (three, (4, 6, 7), True, (0, 0, 0))]


def rl_ratio_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """Both ways of dividing."""
    arrays = tensors(rng, (3, 5), (3, 5), (3, 5))
    return [(*arrays, 1e-6, False), (*arrays, 1e-6, True)]


def rl_update_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """With and without a weight."""
    a, b, c = tensors(rng, (3, 5), (3, 5), (3, 5))
    return [(a, b, c), (a, b, None)]


def rln_arguments(rng: np.random.Generator) -> list[tuple]:
    """One view and two, inference being all there is."""
    arguments = []
    for views in (1, 2):
        image = torch.from_numpy(rng.uniform(0, 1, (2, views, 4, 5, 6))).float()
        arguments.append((image, RLN(views).packed_weights(), 1e-4))
    return arguments


ARGUMENTS = {
    "fft_convolve": fft_convolve_arguments,
    "fft_convolve_add": convolve_add_arguments,
    "make_otf": make_otf_arguments,
    "psf_terms": psf_terms_arguments,
    "richardson_lucy": richardson_lucy_arguments,
    "richardson_lucy_backward": backward_arguments,
    "rl_consensus": consensus_arguments,
    "rl_nodes": nodes_arguments,
    "rl_ratio": rl_ratio_arguments,
    "rl_ratio_": in_place(rl_ratio_arguments),
    "rl_update": rl_update_arguments,
    "rl_update_": in_place(rl_update_arguments),
    "rl_views": views_arguments,
    "rln": rln_arguments,
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_opcheck(name: str, rng: np.random.Generator) -> None:
    for arguments in ARGUMENTS[name](rng):
        torch.library.opcheck(getattr(torch.ops.otfuse, name).default, arguments)


def serves_devices(name: str) -> bool:
    """Whether an op has a body for CUDA tensors."""
    has_body = torch._C._dispatch_has_kernel_for_dispatch_key
    keys = ("CUDA", "CompositeExplicitAutograd")
    return any(has_body(f"otfuse::{name}", key) for key in keys)


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name in ARGUMENTS if serves_devices(name)])
def test_opcheck_on_a_device(name: str, rng: np.random.Generator) -> None:
    def there(argument: object) -> object:
        if not isinstance(argument, torch.Tensor):
            return argument
        return argument.detach().cuda().requires_grad_(argument.requires_grad)

    for arguments in ARGUMENTS[name](rng):
        moved = tuple(map(there, arguments))
        torch.library.opcheck(getattr(torch.ops.otfuse, name).default, moved)


def test_every_op_is_checked() -> None:
    """By the table above, or by the tests of its own family."""
    registered = {
        name.split("::")[1].split(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("otfuse::")
    }
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    elsewhere = set(re.findall(r"opcheck\(\s*torch\.ops\.otfuse\.(\w+)\.default", sources))
    assert registered - elsewhere == set(ARGUMENTS)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compile(
    boundary: str,
    dynamic: bool,
    compiled: object,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    psf = lopsided_psf(rng, (3, 4), torch.float32).requires_grad_()

    def step(image: torch.Tensor, psf: torch.Tensor) -> torch.Tensor:
        return (otfuse.fft_convolve(image, psf, boundary=boundary) ** 2).mean()

    fast = on_device(compiled(step, dynamic=dynamic))
    for batch in (2, 3) if dynamic else (2,):
        sample = Sample("compiled", (11, 12), (3, 4), batch=(batch,))
        image = image_of(sample, rng, torch.float32, domain(sample, boundary))
        image.requires_grad_()
        expected = torch.autograd.grad(step(image, psf), (image, psf))
        actual = torch.autograd.grad(fast(image, psf), (image, psf))
        assert_close(actual[0], expected[0], "grad_image", factor=4)
        assert_close(actual[1], expected[1], "grad_psf", factor=4)


def test_vmap(rng: np.random.Generator) -> None:
    images = image_of(Sample("vmap", (9, 10), (3, 4), batch=(4,)), rng)
    psfs = torch.stack([lopsided_psf(rng, (3, 4)) for _ in range(4)])
    over_images = torch.vmap(lambda x: otfuse.fft_convolve(x, psfs[0]))(images)
    assert_close(over_images, reference.fft_convolve(images, psfs[0]), "over images")
    over_psfs = torch.vmap(lambda h: otfuse.fft_convolve(images[0], h))(psfs)
    over_both = torch.vmap(otfuse.fft_convolve)(images, psfs)
    last = torch.vmap(lambda x: otfuse.fft_convolve(x, psfs[0]), in_dims=-1, out_dims=-1)
    assert_close(last(images.movedim(0, -1)).movedim(-1, 0), over_images, "along the last axis")
    for i in range(4):
        assert_close(over_psfs[i], reference.fft_convolve(images[0], psfs[i]), f"psf {i}")
        assert_close(over_both[i], reference.fft_convolve(images[i], psfs[i]), f"pair {i}")


def test_gradients_through_vmap(rng: np.random.Generator) -> None:
    images = image_of(Sample("vmap", (6, 5), (3, 2), batch=(3,)), rng).requires_grad_()
    psf = lopsided_psf(rng, (3, 2)).requires_grad_()
    cotangent = torch.from_numpy(rng.normal(size=(3, 6, 5)))
    actual = torch.vmap(otfuse.fft_convolve, in_dims=(0, None))(images, psf)
    expected = reference.fft_convolve(images, psf)
    grads = torch.autograd.grad(actual, (images, psf), cotangent)
    truths = torch.autograd.grad(expected, (images, psf), cotangent)
    assert_close(grads[0], truths[0], "grad_image")
    assert_close(grads[1], truths[1], "grad_psf", factor=8)


def test_autocast_computes_in_float32(rng: np.random.Generator) -> None:
    image = image_of(Sample("autocast", (9, 10), (3, 4)), rng, torch.float32)
    psf = lopsided_psf(rng, (3, 4), torch.float32)
    plain = otfuse.fft_convolve(image, psf)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = otfuse.fft_convolve(image, psf)
        halved = otfuse.fft_convolve(image.bfloat16(), psf)
    assert_same(inside, plain, "under autocast")
    assert halved.dtype == torch.float32
    assert_same(halved, otfuse.fft_convolve(image.bfloat16().float(), psf), "bfloat16 image")


@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_compile_richardson_lucy(
    boundary: str,
    acceleration: str | None,
    compiled: object,
    rng: np.random.Generator,
    on_device: OnDevice,
) -> None:
    def step(image: torch.Tensor, psf: torch.Tensor) -> torch.Tensor:
        out = otfuse.richardson_lucy(image, psf, 3, boundary=boundary, acceleration=acceleration)
        return (out**2).mean()

    fast = on_device(compiled(step, dynamic=True))
    psf = lopsided_psf(rng, (3, 4), torch.float32).requires_grad_()
    for batch in (2, 3):
        image = image_of(Sample("compiled", (11, 12), (3, 4), (batch,)), rng, torch.float32) + 1
        image.requires_grad_()
        expected, actual = step(image, psf), fast(image, psf)
        assert_close(actual, expected, "compiled", factor=4)
        truths = torch.autograd.grad(expected, (image, psf))
        grads = torch.autograd.grad(actual, (image, psf))
        assert_close(grads[0], truths[0], "grad_image", factor=16)
        assert_close(grads[1], truths[1], "grad_psf", factor=16)


def test_inductor(compiled: object, rng: np.random.Generator) -> None:
    """The default backend, with code of its own on both sides of the ops."""

    def step(image: torch.Tensor, psf: torch.Tensor) -> torch.Tensor:
        blurred = otfuse.fft_convolve(image.relu() + 1, psf, boundary="reflect")
        return otfuse.richardson_lucy(blurred.exp().log(), psf, 3).tanh()

    image = image_of(Sample("compiled", (11, 12), (3, 4)), rng, torch.float32)
    psf = lopsided_psf(rng, (3, 4), torch.float32)
    assert_close(compiled(step, backend="inductor")(image, psf), step(image, psf), "inductor")


def test_vmap_of_richardson_lucy(rng: np.random.Generator) -> None:
    images = image_of(Sample("vmap", (9, 10), (3, 4), batch=(3,)), rng)
    psfs = torch.stack([lopsided_psf(rng, (3, 4)) for _ in range(3)])
    over_images = torch.vmap(lambda y: otfuse.richardson_lucy(y, psfs[0], 3))(images)
    over_both = torch.vmap(lambda y, h: otfuse.richardson_lucy(y, h, 3))(images, psfs)
    over_batches = torch.vmap(lambda y: otfuse.richardson_lucy(y, psfs[0], 3))(images[:, None])
    assert torch.equal(over_batches[:, 0], over_images)
    for i in range(3):
        alone = reference.richardson_lucy(images[i], psfs[0], 3)
        assert_close(over_images[i], alone, f"image {i}", factor=8)
        alone = reference.richardson_lucy(images[i], psfs[i], 3)
        assert_close(over_both[i], alone, f"pair {i}", factor=8)


def test_autocast_of_richardson_lucy(rng: np.random.Generator) -> None:
    image = image_of(Sample("autocast", (9, 10), (3, 4)), rng, torch.float32)
    psf = lopsided_psf(rng, (3, 4), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = otfuse.richardson_lucy(image.bfloat16(), psf, 3)
    assert inside.dtype == torch.float32
    assert_same(inside, otfuse.richardson_lucy(image.bfloat16().float(), psf, 3), "autocast")
