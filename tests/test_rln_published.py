# SPDX-License-Identifier: BSD-3-Clause
"""RLN with the authors' weights against what their code gave."""

import numpy as np
import pytest
import torch

from otfuse import reference
from otfuse.io import read_tf_checkpoint
from otfuse.nn import RLN, rln_loss
from otfuse.nn._rln_weights import from_published, published_names
from shared_data import shared_folder

VOLUMES = ("32x64x64", "40x48x56")


@pytest.fixture(scope="module")
def checkpoint():
    return shared_folder("checkpoints/rln_mito")


def arrays_of(name):
    return np.load(shared_folder(f"reference/rln_{name}.npz"))


def as_input(array, dtype=torch.float32):
    return torch.from_numpy(array)[None, None].to(dtype)


@pytest.mark.parametrize("name", VOLUMES)
@pytest.mark.parametrize(
    ("denominator", "expected"), [(1e-4, "first_trainedgraph"), (1e-3, "first")]
)
def test_prediction(checkpoint, name, denominator, expected):
    arrays = arrays_of(name)
    network = RLN.from_pretrained(checkpoint, denominator=denominator)
    with torch.no_grad():
        prediction = network(as_input(arrays["x"]))[0, 0].numpy()
    assert np.abs(prediction - arrays[expected]).max() <= 5e-5


@pytest.mark.parametrize("name", VOLUMES)
def test_stages(checkpoint, name):
    arrays = {
        key: values
        for part in (name, f"{name}_inter", f"{name}_inter2")
        for key, values in arrays_of(part).items()
    }
    network = RLN.from_pretrained(checkpoint, denominator=1e-3)
    image = as_input(arrays["x"])
    with torch.no_grad():
        stages = reference.rln(image, network.state_dict(), denominator=1e-3)
        estimate = network.restore_and_estimate(image).estimate
    compared = set(arrays) & set(stages)
    assert compared == set(arrays) - {"x", "first_trainedgraph"}
    for key in sorted(compared):
        error = np.abs(stages[key][0, 0].numpy() - arrays[key]).max()
        assert error <= 1e-5 * np.abs(arrays[key]).max(), key  # largest seen: 3.3e-6, in e
    assert np.abs(estimate[0, 0].numpy() - arrays["e"]).max() <= 1e-5 * arrays["e"].max()


def test_training_step(checkpoint):
    arrays = arrays_of("train_step")
    network = RLN.from_pretrained(checkpoint, denominator=1e-3, gradients="published").train()
    image = torch.from_numpy(arrays["x"])[:, None]
    target = torch.from_numpy(arrays["gt"])[:, None]
    prediction, estimate = network.restore_and_estimate(image)
    loss = rln_loss(prediction, estimate, target, image)
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), rel=1e-6)
    assert np.abs(prediction.detach().numpy()[:, 0] - arrays["first"]).max() <= 5e-5
    names = published_names()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    moved = dict(network.named_buffers())
    compared = 0
    for key in arrays.files:
        kind, _, theirs = key.partition(":")
        if theirs:
            ours = (gradients if kind == "grad" else moved)[names[theirs]].double().numpy()
            expected = arrays[key].astype(np.float64)
            if expected.ndim == 5:
                expected = expected.transpose(4, 3, 0, 1, 2)
            error = np.linalg.norm(ours - expected)
            # 1e-8 is for the gradient in one factor, 3e-5, which is what rounding left of it.
            assert error <= 1e-4 * np.linalg.norm(expected) + 1e-8, key
            compared += 1
    assert compared == 49 + 34


def test_exact_gradients_are_not_the_published_ones(checkpoint):
    arrays = arrays_of("train_step")
    network = RLN.from_pretrained(checkpoint, denominator=1e-3).train()
    image = torch.from_numpy(arrays["x"])[:, None]
    target = torch.from_numpy(arrays["gt"])[:, None]
    rln_loss(*network.restore_and_estimate(image), target, image).backward()
    expected = arrays["grad:update/u_1"].transpose(4, 3, 0, 1, 2)
    error = np.linalg.norm(network.conv["9"].weight.grad.numpy() - expected)
    assert error > 0.1 * np.linalg.norm(expected)


def test_rejects_other_networks():
    other = shared_folder("checkpoints/mrbcr_biosr")
    with pytest.raises(ValueError, match=r"those of this network, .*missing: .*; surplus: "):
        RLN.from_pretrained(other)


def test_rejects_other_extents(checkpoint):
    with pytest.raises(
        ValueError, match=r"conv\.1\.weight \(4, 1, 3, 3, 3\) for \(4, 2, 3, 3, 3\)"
    ):
        RLN.from_pretrained(checkpoint, views=2)


def test_every_published_tensor_has_a_name(checkpoint):
    assert set(from_published(read_tf_checkpoint(checkpoint))) == set(RLN().state_dict())


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \.index file"):
        RLN.from_pretrained(tmp_path)
