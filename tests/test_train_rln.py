# SPDX-License-Identifier: BSD-3-Clause
"""RLN's side of training: crops, scales, schedule, and the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cli_helpers import CommandLine, lopsided_psf, save
from compare import assert_same
from otfuse.cli._train_options import sampling
from otfuse.io import read_weights
from otfuse.nn import RLN, rln_loss
from otfuse.simulate import phantoms
from otfuse.train import Pairs, RlnTask, Settings, simulated_pairs, train

pytestmark = pytest.mark.usefixtures("one_thread")


def noisy_pairs(rng: np.random.Generator, n: int = 3) -> Pairs:
    targets = [rng.gamma(1, 100, (16, 24, 24)).astype(np.float32) for _ in range(n)]
    inputs = [y + rng.normal(0, 5, y.shape).astype(np.float32) for y in targets]
    return Pairs(inputs, targets)


def test_a_step_has_one_pair_and_all_take_turns() -> None:
    volumes = [np.full((16, 16, 16), i, np.float32) for i in range(5)]
    pairs, task = Pairs(volumes, volumes), RlnTask()
    seen = []
    for step in range(10):
        rng = np.random.default_rng(step)
        values = {float(task.crop(pairs, (8, 8, 8), (7, step), rng)[0].mean()) for _ in range(4)}
        assert len(values) == 1
        seen.append(values.pop())
    assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 1, 2, 3, 4]
    assert seen[:5] == seen[5:]


def test_crops_are_bright_and_on_the_lattice(rng: np.random.Generator) -> None:
    place = np.arange(32**3, dtype=np.float32).reshape(32, 32, 32)
    target = np.zeros((32, 32, 32), np.float32)
    target[8:24, 16:, 16:] = 1
    starts = set()
    for _ in range(60):
        x, y = RlnTask().crop(Pairs([place], [target]), (16, 16, 16), (0, 0), rng)
        assert y.mean() >= 0.8 * target.mean()
        starts.add(tuple(int(i) for i in np.unravel_index(int(x[0, 0, 0]), place.shape)))
    assert all(i % 8 == 0 for start in starts for i in start)
    assert len(starts) > 3


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_flat_volumes_do_not_hang(rng: np.random.Generator, level: float) -> None:
    flat = np.full((16, 16, 16), level, np.float32)
    x, y = RlnTask().crop(Pairs([flat], [flat]), (8, 8, 8), (0, 0), rng)
    x, y = RlnTask().prepare(x, y, rng, True)
    np.testing.assert_array_equal(x, np.sign(level))
    np.testing.assert_array_equal(y, np.sign(level))


def test_no_crop_is_bright_enough(rng: np.random.Generator) -> None:
    # All light lies where no crop on the lattice reaches: the draws end all the same.
    target = np.zeros((20, 20, 20), np.float32)
    target[-1, -1, -1] = 1
    _, y = RlnTask().crop(Pairs([target], [target]), (16, 16, 16), (0, 0), rng)
    assert y.shape == (16, 16, 16)
    assert not y.any()


def test_scales(rng: np.random.Generator) -> None:
    x, y = rng.gamma(1, 100, (2, 12, 12, 12)).astype(np.float32)
    for training, high in ((True, 99.5), (False, 99.8)):
        scaled_x, scaled_y = RlnTask().prepare(x, y, rng, training)
        low_x, high_x = np.percentile(x, (0.01, 99.5))
        low_y, high_y = np.percentile(y, (0.01, high))
        np.testing.assert_allclose(scaled_x, (x - low_x) / (high_x - low_x), atol=1e-6)
        expected = np.maximum((y - low_y) / (high_y - low_y), 0)
        np.testing.assert_allclose(scaled_y, expected, atol=1e-6)
        assert scaled_x.min() < 0
        assert scaled_x.dtype == scaled_y.dtype == np.float32


def test_schedule_and_loss(rng: np.random.Generator) -> None:
    task = RlnTask()
    assert task.rate(0, 0.015) == 0.015
    assert task.rate(1200, 0.015) == pytest.approx(0.015 * 0.95**2)
    torch.manual_seed(0)
    network = RLN()
    x, y = (torch.from_numpy(rng.uniform(0, 1, (2, 1, 6, 8, 8))).float() for _ in range(2))
    expected = rln_loss(*network.train().restore_and_estimate(x), y, x)
    assert torch.equal(task.loss(network, x, y), expected)


def test_learns_and_resumes_bit_for_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    pairs = noisy_pairs(rng)

    def run(folder: str, steps: int, resume: bool = False) -> list[dict]:
        torch.manual_seed(1)
        settings = Settings(
            steps=steps, epoch=4, batch=2, crop=16, learning_rate=0.015, patience=0, n_validation=2
        )
        return train(RLN(), RlnTask(), pairs, tmp_path / folder, settings, resume=resume)

    rows = run("whole", 12)
    assert rows[-1]["loss"] < rows[0]["loss"]
    run("halves", 8)
    run("halves", 12, resume=True)
    first, second = (
        read_weights(next((tmp_path / folder).glob("state-*.safetensors")))[0]
        for folder in ("whole", "halves")
    )
    assert set(first) == set(second)
    for name, values in first.items():
        assert_same(second[name], values, name)


def test_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rng: np.random.Generator
) -> None:
    cli = CommandLine(capsys, tmp_path)
    psf = save(tmp_path / "psf.tif", lopsided_psf()[None, None])
    words = (
        "train", "rln", "-o", tmp_path / "run", "--simulate", "mixed", "--psf", psf, "--steps", 2,
        "--epoch", 1, "--crop", 16, "--size", 24, "--count", 2, "--device", "cpu", "--threads", 1,
    )  # fmt: skip
    done = cli(*words)
    assert done.code == 0, done.err
    assert "2 pairs, the first 24 x 24 x 24" in done.out
    assert "rln, 15968 weights" in done.out
    assert (tmp_path / "run" / "samples" / "step-000002.png").exists()
    best = tmp_path / "run" / "best.safetensors"
    assert RLN.from_pretrained(best).denominator == 1e-4
    image = save(tmp_path / "in.tif", rng.uniform(0, 9, (1, 1, 8, 16, 16)))
    words = ("predict", image, "-o", tmp_path / "out.tif", "--model", "rln", "--weights", best)
    assert cli(*words).code == 0


def test_simulated_volumes() -> None:
    """Bodies of random kinds, read noise, and sampling that is coarser along z."""
    light = torch.ones(3, 3, 3).numpy()
    quiet = simulated_pairs("mixed", 2, (16, 24, 24), light, seed=3)
    noisy = simulated_pairs("mixed", 2, (16, 24, 24), light, seed=3, read_noise=5.0)
    expected = phantoms(1, (16, 24, 24), seed=3 * 1_000_003 + 1)[0].numpy()
    np.testing.assert_array_equal(quiet.targets[1], expected)
    assert 4.5 < np.std(noisy.inputs[1] - quiet.inputs[1]) < 5.5
    flat = simulated_pairs("beads", 1, (16, 24, 24), light, voxel=(3, 1, 1))
    assert not np.array_equal(
        flat.targets[0], simulated_pairs("beads", 1, (16, 24, 24), light).targets[0]
    )
    with pytest.raises(ValueError, match="read_noise must not be negative, got -1"):
        simulated_pairs("mixed", 1, (16, 24, 24), light, read_noise=-1.0)


def test_sampling_of_a_psf(tmp_path: Path) -> None:
    psf = lopsided_psf()[None, None]
    unknown = save(tmp_path / "plain.tif", psf, voxel=(None, None, None))
    assert sampling(unknown) == (1, 1, 1)
    known = save(tmp_path / "known.ome.tif", psf, voxel=(0.3, 0.1, 0.1))
    assert sampling(known) == pytest.approx((3, 1, 1))


def test_command_rejects(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cli = CommandLine(capsys, tmp_path)
    psf = save(tmp_path / "psf.tif", lopsided_psf()[None, None])
    words = ("train", "rln", "-o", tmp_path / "run", "--simulate", "mixed", "--psf", psf)
    done = cli(*words, "--crop", 4)
    assert done.code == 2
    assert "--crop must be at least 8 voxels" in done.err
    done = cli(*words, "--crop", 32, "--size", 24, "--count", 2)
    assert done.code == 2
    assert "at least as large as a crop" in done.err
