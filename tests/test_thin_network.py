# SPDX-License-Identifier: BSD-3-Clause
"""Programs of thin-channel layers against the same layers in plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from compare import assert_close, assert_same
from otfuse import reference
from otfuse.functional.thin_network import ThinProgram, thin_network
from otfuse.nn import MRBCR

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = {  # of the weights of each layer
    "first": (3, 1, 5, 3),
    "dense.0": (6, 3, 1, 1),
    "dense.1": (4, 6, 1, 1),
    "point": (5, 7, 1, 1),
    "parted": (5, 7, 3, 3),
    "folded": (1, 2, 5, 1),
    "last": (1, 11, 9, 9),
}


def build() -> tuple[ThinProgram, list[int]]:
    """Every kind of step, scales 1, 1/2 and 1/4; and the code for four outputs."""
    program = ThinProgram()
    a = program.conv("first", [program.image], 3, activation="relu")
    b = program.pixel_mlp(["dense.0", "dense.1"], a, 4)
    c = program.conv("point", [a, b], 5, activation="softplus")
    coarse = program.pick(b, 2)
    d = program.resize(coarse, 0)
    e = program.resize(program.resize(program.resize(c, 1), 0), 1)
    f = program.resize(e, 0)
    g = program.conv("last", [f, d, program.image, program.image], 1, added=program.image)
    h = program.conv("parted", [a, b], 5, activation="relu", activated=2)
    i = program.conv("folded", [program.part(h, 1, 2)], 1, start=program.part(h, 4, 1))
    return program, program.code([g, e, coarse, i])


def expected(image: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """What `build` says, in plain torch."""

    def conv(name: str, x: list[Tensor], **options: object) -> Tensor:
        return reference.conv_thin(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    def resize(x: Tensor, factor: float) -> Tensor:
        return interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)

    a = conv("first", [image], activation="relu")
    b = conv("dense.1", [conv("dense.0", [a], activation="relu")], activation="relu")
    c = conv("point", [a, b], activation="softplus")
    coarse = b[..., ::4, ::4]
    e = resize(resize(resize(c, 0.5), 2), 0.5)
    g = conv("last", [resize(e, 2), resize(coarse, 4), image, image], added=image)
    h = conv("parted", [a, b])
    h = torch.cat([h[:, :2].relu(), h[:, 2:]], 1)
    return [g, e, coarse, h[:, 4:] + conv("folded", [h[:, 1:3]])]


def draw(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    weights = {}
    for name, kernel in SHAPES.items():
        scale = 1 / np.sqrt(np.prod(kernel[1:]))
        weights[f"{name}.weight"] = torch.from_numpy(scale * rng.standard_normal(kernel)).to(dtype)
        weights[f"{name}.bias"] = torch.from_numpy(rng.standard_normal(kernel[0])).to(dtype)
    return torch.from_numpy(rng.standard_normal(shape)).to(dtype), weights


def run(image: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    program, code = build()
    return thin_network(image, code, program.layers, weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 1, 16, 20), (1, 1, 72, 68), (2, 1, 4, 4)], ids=str)
def test_matches_plain_torch(
    shape: tuple, dtype: torch.dtype, simd_level: str, set_threads: object,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    image, weights = draw(rng, shape, dtype)
    truth = expected(image.double(), {name: w.double() for name, w in weights.items()})
    single = run(image, weights)
    set_threads(2)
    for i, (a, b, c) in enumerate(zip(single, truth, run(image, weights), strict=True)):
        assert a.dtype == dtype
        assert_close(a, b, f"output {i}", factor=4)
        assert_same(c, a, f"output {i}, 2 threads")


def test_opcheck(rng: np.random.Generator) -> None:
    image, weights = draw(rng, (1, 1, 8, 8), torch.float32)
    program, code = build()
    parameters = [weights[f"{n}.{k}"] for n in program.layers for k in ("weight", "bias")]
    torch.library.opcheck(
        torch.ops.otfuse.thin_network.default,
        (image, parameters, code),
    )


def test_mrbcr_is_the_same_with_and_without_gradients(rng: np.random.Generator) -> None:
    network = MRBCR().double()
    image = torch.from_numpy(rng.random((2, 1, 36, 44)))
    plain = network(image)
    with torch.no_grad():
        fast = network(image)
    for a, b in zip(fast, plain, strict=True):
        assert not a.requires_grad
        # About thirty layers one after the other.
        assert_close(a, b, "scale", factor=32)


def test_rejects_weights_of_another_dtype(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.random((1, 1, 16, 20)))
    with torch.no_grad(), pytest.raises(TypeError, match="image must have the parameters' dtype"):
        MRBCR()(image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda code: code[:-1], "not end early"),
        (lambda code: [*code, 0], "end after its steps"),
        (
            lambda code: [*code[:1], 2, *code[2:]],
            r"give each layer the channels that its weight takes, got \d$",
        ),
        (lambda code: [*code[:2], 1, *code[3:]], "convolve at one scale, got a buffer at 1$"),
        (lambda code: [*code[:-10], 99, *code[-9:]], "hold a number from 0 to 3"),
        (lambda code: [*code[:-9], code[-1], *code[-8:]], "write whole buffers, got number "),
        (
            lambda code: [*code[:-7], 1, *code[-6:]],
            "start from a buffer like the one it makes, got number 1$",
        ),
    ],
)
def test_rejects(change: object, message: str, rng: np.random.Generator) -> None:
    image, weights = draw(rng, (1, 1, 8, 8), torch.float32)
    program, code = build()
    with pytest.raises(ValueError, match=f"^thin_network: program must {message}"):
        thin_network(image, change(code), program.layers, weights)


@pytest.mark.parametrize(
    ("first", "channels", "as_output", "message"),
    [
        (2, 2, False, "keep a part inside its buffer"),
        (0, 3, True, "give out whole buffers"),
    ],
)
def test_rejects_parts(
    first: int, channels: int, as_output: bool, message: str, rng: np.random.Generator
) -> None:
    image, weights = draw(rng, (1, 1, 8, 8), torch.float32)
    program = ThinProgram()
    a = program.conv("first", [program.image], 3)
    part = program.part(a, first, channels)
    code = program.code([part if as_output else a])
    with pytest.raises(ValueError, match=f"^thin_network: program must {message}"):
        thin_network(image, code, program.layers, weights)


def test_rejects_missing_parameters(rng: np.random.Generator) -> None:
    image, weights = draw(rng, (1, 1, 8, 8), torch.float32)
    program, code = build()
    with pytest.raises(ValueError, match=r"name parameters that are there, got number \d+$"):
        thin_network(image, code, program.layers[:-1], weights)


def test_rejects_extents(rng: np.random.Generator) -> None:
    image, weights = draw(rng, (1, 1, 8, 10), torch.float32)
    program, code = build()
    with pytest.raises(ValueError, match=r"extents its levels divide, got 10$"):
        thin_network(image, code, program.layers, weights)
