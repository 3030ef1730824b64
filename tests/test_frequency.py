# SPDX-License-Identifier: BSD-3-Clause
"""The network of frequency blocks, and the block itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compare import assert_close
from otfuse import reference
from otfuse.nn import MRBCR, FrequencyBlock, mrbcr_loss
from otfuse.nn._mrbcr_frequency import coarser_psf


def noise(rng: np.random.Generator, *shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(0, 1, shape)).to(dtype)


@pytest.fixture
def psf(rng: np.random.Generator) -> torch.Tensor:
    return noise(rng, 7, 6, dtype=torch.float32)


@pytest.mark.parametrize("stage", ["free", "adjoint", "inverse"])
@pytest.mark.parametrize(("taken", "ndim"), [(2, 2), (3, 2), (3, 3)])
def test_block(rng: np.random.Generator, stage: str, taken: int, ndim: int) -> None:
    """Symbols, bias, shortcut, and what is below 0 cut off."""
    block = FrequencyBlock(taken, 3, bands=3, ndim=ndim, stage=stage).double()
    with torch.no_grad():
        block.bias.copy_(noise(rng, 3))
    x, light = noise(rng, 2, taken, *(8, 9, 6)[:ndim]) - 0.5, noise(rng, *(3, 4, 3)[:ndim])
    arguments = {"bias": block.bias, "stage": stage, "regularization": block.regularization}
    mixed = reference.spectral_mix(x, block.weight, psf=light, **arguments)
    assert_close(block(x, light), torch.relu(mixed + block.skip(x)), "block", factor=10)
    assert isinstance(block.skip, torch.nn.Identity) == (taken == 3)


def test_regularization_starts_at_its_value() -> None:
    block = FrequencyBlock(1, 1, stage="inverse")
    assert torch.nn.functional.softplus(block.regularization).detach().numpy() == pytest.approx(0.3)


@pytest.mark.parametrize("informed", [False, True])
def test_network(rng: np.random.Generator, psf: torch.Tensor, informed: bool) -> None:
    """Three scales of any extents, every parameter used, few of them."""
    network = MRBCR(frequency=True, psf=psf if informed else None)
    sizes = [p.numel() for p in network.parameters()]
    assert 50_000 < sum(sizes) < 100_000
    image = noise(rng, 2, 1, 22, 33, dtype=torch.float32)
    restored = network(image)
    assert [tuple(z.shape[2:]) for z in restored] == [(22, 33), (11, 17), (6, 9)]
    mrbcr_loss(restored, image).backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in network.parameters())


def test_learns_after_it_has_restored(rng: np.random.Generator) -> None:
    """What is kept of an extent is no tensor of inference mode, which no gradient goes through."""
    network, image = MRBCR(frequency=True), noise(rng, 1, 1, 28, 36, dtype=torch.float32)
    network.restore(image)
    network(image)[0].sum().backward()
    assert network.body.scales["0"].back.weight.grad.any()


def test_informed_network_has_physics(rng: np.random.Generator, psf: torch.Tensor) -> None:
    """Another PSF, other results from the same weights."""
    torch.manual_seed(1)
    network = MRBCR(frequency=True, psf=psf).eval()
    other = MRBCR(frequency=True, psf=psf.flip(0)).eval()
    state = {k: v for k, v in network.state_dict().items() if "psf" not in k}
    other.load_state_dict(state, strict=False)
    image = noise(rng, 1, 1, 16, 16, dtype=torch.float32)
    with torch.no_grad():
        a, b = network(image)[0], other(image)[0]
    assert float((a - b).abs().max()) > 1e-3


@pytest.mark.parametrize("informed", [False, True])
def test_round_trip(
    rng: np.random.Generator, psf: torch.Tensor, informed: bool, tmp_path: Path
) -> None:
    network = MRBCR(frequency=True, psf=psf if informed else None, channels=5, bands=3)
    network.save(tmp_path / "w.safetensors")
    again = MRBCR.from_pretrained(tmp_path / "w.safetensors")
    image = noise(rng, 16, 20, dtype=torch.float32)
    assert torch.equal(network.eval().restore(image), again.restore(image))
    assert again.options == network.options


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_coarser_psf_keeps_centre_and_light(k: int) -> None:
    point = torch.zeros(k, 5)
    point[k // 2, 2] = 1
    small = coarser_psf(point)
    peak = np.unravel_index(int(small.argmax()), small.shape)
    assert peak == (small.shape[0] // 2, small.shape[1] // 2)
    wide = torch.zeros(k + 16, 5)
    wide[8 : 8 + k] = 1 / (5 * k)
    assert float(coarser_psf(wide).sum()) == pytest.approx(0.25, rel=0.3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"psf": np.ones((3, 3))}, "give frequency=True"),
        ({"frequency": True, "psf": np.ones((3, 3, 3))}, r"psf must have axes \(y, x\)"),
        ({"frequency": True, "psf": np.zeros((3, 3))}, "some light"),
        ({"frequency": True, "psf": -np.ones((3, 3))}, "must not be negative"),
        ({"frequency": True, "channels": 0}, "channels must be at least 1"),
        ({"frequency": True, "bands": 0}, "bands must be at least 1"),
    ],
)
def test_rejects(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MRBCR(**arguments)


def test_rejects_blocks(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="stage must be one of"):
        FrequencyBlock(1, 1, stage="other")
    with pytest.raises(ValueError, match="ndim must be one of"):
        FrequencyBlock(1, 1, ndim=4)
    with pytest.raises(ValueError, match="psf must be given"):
        FrequencyBlock(1, 1, stage="adjoint")(noise(rng, 1, 1, 4, 4))
