# SPDX-License-Identifier: BSD-3-Clause
"""The training loop: it learns, resumes bit for bit, stops in time and refuses what is wrong."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cli_helpers import save
from compare import assert_same
from otfuse.nn import MRBCR, RLN
from otfuse.train import (
    MrbcrTask,
    Pairs,
    RlnTask,
    Settings,
    paired_stacks,
    simulated_pairs,
    train,
)

TINY = Settings(steps=6, epoch=2, batch=2, crop=16, n_validation=3, validation_share=0.3)


class Small(nn.Module):
    """A network of ten weights that can be trained in no time."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        nn.init.constant_(self.conv.weight, start)
        nn.init.zeros_(self.conv.bias)
        self.saved: list[dict[str, torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        torch.save(self.state_dict(), path)


@dataclass(frozen=True)
class SmallTask:
    """Least squares on crops as they are."""

    noise: float = 0.1
    name: str = "small"

    def crop(self, pairs, extents, at, rng):
        return pairs.crop(extents, rng)

    def prepare(self, x, y, rng, training):
        return x + self.noise * training * rng.standard_normal(x.shape, np.float32), y

    def loss(self, network, x, y):
        return (network(x) - y).square().mean()

    def restore(self, network, x):
        return network(x)

    def rate(self, step, base):
        return base / (1 + step / 100)


@pytest.fixture
def pairs(rng: np.random.Generator) -> Pairs:
    """Targets are half of the inputs."""
    inputs = [rng.uniform(0, 1, (20, 24)).astype(np.float32) for _ in range(6)]
    return Pairs(inputs, [x / 2 for x in inputs])


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Tiny arrays, for which threads mostly wait."""


def run(pairs: Pairs, folder: Path, resume: bool = False, network=None, **changes: object):
    network = network or Small()
    rows = train(network, SmallTask(), pairs, folder, replace(TINY, **changes), resume=resume)
    return network, rows


def test_learns(pairs: Pairs, tmp_path: Path) -> None:
    network, rows = run(pairs, tmp_path, steps=200, epoch=100, learning_rate=0.5)
    assert rows[-1]["validation_loss"] < 0.2 * rows[0]["loss"]
    assert float(network.conv.weight[0, 0, 1, 1].detach()) == pytest.approx(0.5, abs=0.15)


def test_folder(pairs: Pairs, tmp_path: Path) -> None:
    """Table, curve, a picture of each epoch, best weights and the state, and nothing else."""
    _, rows = run(pairs, tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [int(row["step"]) for row in table] == [2, 4, 6] == [row["step"] for row in rows]
    assert float(table[1]["validation_loss"]) == rows[1]["validation_loss"]
    assert float(table[0]["learning_rate"]) == pytest.approx(1e-3 / 1.01)
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert names == [
        "best.safetensors",
        "curve.png",
        "metrics.csv",
        *(f"samples/step-{step:06}.png" for step in (2, 4, 6)),
        "state-00000006.safetensors",
        "state.json",
    ]
    for picture in tmp_path.rglob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_resumed_run_is_the_undisturbed_one(pairs: Pairs, tmp_path: Path) -> None:
    whole, rows = run(pairs, tmp_path / "whole", steps=8)
    run(pairs, tmp_path / "parts", steps=4)
    parts, again = run(pairs, tmp_path / "parts", resume=True, network=Small(3.0), steps=8)
    for name, values in whole.state_dict().items():
        assert_same(parts.state_dict()[name], values, name)
    for a, b in zip(rows, again, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    states = [
        json.loads((tmp_path / part / "state.json").read_text()) for part in ("whole", "parts")
    ]
    tensors = [
        (tmp_path / part / state["tensors"]).read_bytes()
        for part, state in zip(("whole", "parts"), states, strict=True)
    ]
    assert tensors[0] == tensors[1]


def test_mrbcr_resumes_bit_for_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    """The real network, its noise and its turns."""
    images = [rng.uniform(0, 9, (16, 20)).astype(np.float32) for _ in range(3)]
    pairs = Pairs(images, [x**2 for x in images])
    settings = replace(TINY, steps=2, epoch=1, batch=1, n_validation=1)
    results = []
    for name, halves in (("whole", (2,)), ("parts", (1, 2))):
        for steps in halves:
            torch.manual_seed(4)
            network = MRBCR()
            train(
                network,
                MrbcrTask(),
                pairs,
                tmp_path / name,
                replace(settings, steps=steps),
                resume=steps == 2 and len(halves) == 2,
            )
        results.append(network.state_dict())
    for name, values in results[0].items():
        assert_same(results[1][name], values, name)
    best = MRBCR.from_pretrained(tmp_path / "whole" / "best.safetensors")
    assert sum(p.numel() for p in best.parameters()) == 236_630


def test_stops_early(pairs: Pairs, tmp_path: Path) -> None:
    """A rate that throws the weights about: the first epochs stay the best."""
    _, rows = run(pairs, tmp_path, steps=400, patience=2, learning_rate=50.0)
    losses = [row["validation_loss"] for row in rows]
    assert len(rows) == int(np.argmin(losses)) + 3 < 200


def test_prepares_mrbcr(rng: np.random.Generator) -> None:
    """Between 0 and 1, each on its own; input and target are turned alike."""
    x = rng.uniform(5, 9, (16, 16)).astype(np.float32)
    flat = MrbcrTask(noise=0.0)
    seen = set()
    for _ in range(40):
        a, b = flat.prepare(x, 2 * x, rng, True)
        assert a.min() == 0 and a.max() == pytest.approx(1)
        np.testing.assert_allclose(a, b, atol=1e-6)
        seen.add(a.tobytes())
    assert len(seen) == 8
    a, _ = flat.prepare(x, x, rng, False)
    noisy, _ = MrbcrTask(noise=0.2, turn=False).prepare(x, x, rng, True)
    assert 0 < np.abs(noisy - a).mean() < 0.2
    constant, _ = flat.prepare(np.ones((16, 16), np.float32), x, rng, True)
    assert not constant.any()


def test_paired_stacks(tmp_path: Path, rng: np.random.Generator) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    stacks = [rng.uniform(1, 2, (1, 2, 3, 8, 9)), rng.uniform(1, 2, (1, 1, 1, 8, 9))]
    for i, stack in enumerate(stacks):
        save(tmp_path / "a" / f"{i}.tif", stack)
        save(tmp_path / "b" / f"{i}.tif", stack * 2)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    planes = paired_stacks(tmp_path / "a", tmp_path / "b", ndim=2)
    assert len(planes) == 7 and planes.inputs[0].shape == (8, 9)
    np.testing.assert_allclose(planes.targets[4], 2 * planes.inputs[4], rtol=1e-6)
    volumes = paired_stacks(tmp_path / "a", tmp_path / "b", ndim=3)
    assert [v.shape for v in volumes.inputs] == [(3, 8, 9), (3, 8, 9), (1, 8, 9)]
    (tmp_path / "b" / "1.tif").unlink()
    save(tmp_path / "b" / "1.tif", stacks[0])
    with pytest.raises(ValueError, match=r"extents of its input.* for 1\.tif"):
        paired_stacks(tmp_path / "a", tmp_path / "b", ndim=2)
    (tmp_path / "b" / "1.tif").unlink()
    with pytest.raises(FileNotFoundError, match=r"other folder: '1\.tif'"):
        paired_stacks(tmp_path / "a", tmp_path / "b", ndim=2)
    with pytest.raises(FileNotFoundError, match="folder must exist"):
        paired_stacks(tmp_path / "a", tmp_path / "c", ndim=2)
    (tmp_path / "c").mkdir()
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match="must hold TIFF files"):
        paired_stacks(tmp_path / "c", tmp_path / "d", ndim=2)


@pytest.mark.parametrize("shape", [(32, 40), (6, 24, 28)])
def test_simulated_pairs(shape: tuple[int, ...]) -> None:
    psf = np.ones((3,) * len(shape), np.float32)
    pairs = simulated_pairs("mixed", 2, shape, psf, photons=100, background=5, seed=3)
    again = simulated_pairs("mixed", 2, shape, psf, photons=100, background=5, seed=3)
    for x, y, x2 in zip(pairs.inputs, pairs.targets, again.inputs, strict=True):
        assert x.shape == y.shape == shape
        np.testing.assert_array_equal(x, x2)
        assert y.min() >= 0 and y.max() <= 1 and 60 < x.max() < 180
    assert not np.array_equal(pairs.targets[0], pairs.targets[1])
    with pytest.raises(ValueError, match="specimen must be one of"):
        simulated_pairs("cats", 2, shape, psf)
    with pytest.raises(ValueError, match="psf must have"):
        simulated_pairs("mixed", 2, shape, psf[0])
    with pytest.raises(ValueError, match="count must be at least 1"):
        simulated_pairs("mixed", 0, shape, psf)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"patience": -1}, "patience"),
        ({"seed": -1}, "seed must lie between"),
        ({"seed": 2**64}, "seed must lie between"),
        ({"learning_rate": float("nan")}, "learning rate must be positive"),
        ({"precision": "half"}, "precision must be full or mixed"),
        ({"precision": "mixed"}, "full on cpu"),
        ({"crop": 22}, r"crop of \(22, 22\), got \(20, 24\) in pair 1"),
    ],
)
def test_rejects_settings(pairs: Pairs, tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(pairs, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_rejects_pairs(pairs: Pairs, tmp_path: Path) -> None:
    x = pairs.inputs[0]
    for bad, words in (
        (Pairs([x], [x]), "at least 2"),
        (Pairs([], []), "at least 2"),
        (Pairs([x, x], [x, x[1:]]), "shape of its input"),
        (Pairs([x, x * np.nan], [x, x]), "must be finite, got NaN or infinity in pair 2"),
    ):
        with pytest.raises(ValueError, match=words):
            run(bad, tmp_path / "run")


def test_rejects_folders(pairs: Pairs, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="must exist to resume"):
        run(pairs, folder, resume=True)
    run(pairs, folder, steps=2)
    with pytest.raises(FileExistsError, match="give --resume"):
        run(pairs, folder)
    with pytest.raises(ValueError, match="batch must be that of the run, 2, got 3"):
        run(pairs, folder, resume=True, batch=3)
    with pytest.raises(ValueError, match="of this network"):
        train(MRBCR(), SmallTask(), pairs, folder, TINY, resume=True)
    tensors = next(folder.glob("state-*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-3])
    with pytest.raises(ValueError, match="must be complete"):
        run(pairs, folder, resume=True)


def test_rejects_a_network_of_other_options(tmp_path: Path, rng: np.random.Generator) -> None:
    """Its weights fit, what it computes with them is another thing."""
    x = rng.uniform(0, 1, (8, 8, 8)).astype(np.float32)
    settings = replace(TINY, steps=1, crop=8, batch=1, n_validation=1)
    parts = RlnTask(), Pairs([x, x], [x, x]), tmp_path, settings
    train(RLN(gradients="published"), *parts)
    with pytest.raises(ValueError, match="network gradients must be that of the run, published"):
        train(RLN(), *parts, resume=True)


def test_stops_when_the_loss_is_not_finite(pairs: Pairs, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="loss must be finite, got nan"):
        run(pairs, tmp_path, network=Small(float("nan")))
    assert not (tmp_path / "state.json").exists()


def test_stops_where_the_last_step_of_an_epoch_goes_too_far(pairs: Pairs, tmp_path: Path) -> None:
    """The loss before it is finite still."""
    with pytest.raises(RuntimeError, match="validation loss must be finite, got"):
        run(pairs, tmp_path, steps=1, epoch=1, learning_rate=1e30)
    assert not (tmp_path / "state.json").exists()
