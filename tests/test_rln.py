# SPDX-License-Identifier: BSD-3-Clause
"""The Richardson-Lucy Network against its twin, and its gradients."""

import numpy as np
import pytest
import torch

from compare import assert_close
from otfuse import reference
from otfuse.nn import MRBCR, RLN, rln_loss

# Rounding grows over 15 convolutions and two quotients; largest seen with factor 1: 12 times.
DEPTH = 40


def made_up(rng, dtype=torch.float64, **options):
    """A network whose normalisations are not the identity, on a scale where softplus bends."""
    torch.manual_seed(int(rng.integers(1 << 30)))
    network = RLN(**options)
    with torch.no_grad():
        for norm in network.norm.values():
            for values, low, high in (
                (norm.weight, 0.5, 1.5),
                (norm.bias, -0.5, 0.5),
                (norm.running_mean, -0.2, 0.2),
                (norm.running_var, 0.5, 2.0),
            ):
                values.copy_(torch.from_numpy(rng.uniform(low, high, len(values))))
    return network.to(dtype).eval()


def volume(rng, *shape, dtype=torch.float64):
    return torch.from_numpy(rng.uniform(0, 1, shape)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "extents", [(8, 10, 12), (7, 10, 13), (9, 9, 9), (2, 3, 2), (5, 2, 40)], ids=str
)
def test_matches_reference(rng, extents, dtype):
    network, image = made_up(rng, dtype), volume(rng, 2, 1, *extents, dtype=dtype)
    stages = reference.rln(image, network.state_dict())
    with torch.no_grad():
        prediction, estimate = network.restore_and_estimate(image)
        whole = network(image)
    assert whole.shape == (2, 1, *extents)
    assert bool((whole > 0).all())
    assert_close(prediction, stages["first"], "prediction", factor=DEPTH)
    assert_close(whole, stages["first"], "forward", factor=DEPTH)
    assert_close(estimate, stages["e"], "estimate", factor=DEPTH)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("gradients", ["exact", "published"])
@pytest.mark.parametrize("denominator", [1e-4, 1e-3])
def test_gradients_match_reference(rng, gradients, denominator, training):
    network = made_up(rng, gradients=gradients, denominator=denominator).train(training)
    image = volume(rng, 2, 1, 6, 7, 8).requires_grad_()
    target = volume(rng, 2, 1, 6, 7, 8)
    parameters = dict(network.named_parameters())
    weights = {**network.state_dict(keep_vars=True)}
    stages = reference.rln(
        image, weights, denominator=denominator, gradients=gradients, training=training
    )
    arrays = [image, *parameters.values()]
    loss = rln_loss(stages["first"], stages["e"], target, image)
    expected = torch.autograd.grad(loss, arrays)
    prediction, estimate = network.restore_and_estimate(image)
    actual = torch.autograd.grad(rln_loss(prediction, estimate, target, image), arrays)
    for name, a, b in zip(["image", *parameters], actual, expected, strict=True):
        assert_close(a, b, f"gradient in {name}", factor=10 * DEPTH)


def test_published_gradients_are_others(rng):
    image, target = volume(rng, 1, 1, 4, 6, 6), volume(rng, 1, 1, 4, 6, 6)
    exact = made_up(rng)
    published = RLN(gradients="published").double().eval()
    published.load_state_dict(exact.state_dict())
    gradients = []
    for network in (exact, published):
        rln_loss(*network.restore_and_estimate(image), target, image).backward()
        gradients.append(network.conv["9"].weight.grad)
    assert torch.equal(exact(image), published(image))
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) > 0.01


def test_gradcheck(rng):
    network = made_up(rng)
    image = volume(rng, 1, 1, 3, 4, 3).requires_grad_()
    some = [network.conv[k].weight for k in ("7", "9", "14")]
    names = [f"conv.{k}.weight" for k in ("7", "9", "14")]

    def call(image, *kernels):
        return torch.func.functional_call(network, dict(zip(names, kernels, strict=True)), image)

    assert torch.autograd.gradcheck(call, (image, *some), fast_mode=True)


def test_moving_statistics(rng):
    network = RLN().double().train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    image = volume(rng, 2, 1, 4, 4, 6)
    network(image)
    # The first normalisation's input is the pooled image under the first convolution.
    small = torch.nn.functional.avg_pool3d(image, 2)
    sums = torch.nn.functional.conv3d(small, before["conv.1.weight"], padding=1)
    norm = network.norm["0"]
    mean, variance = sums.mean((0, 2, 3, 4)), sums.var((0, 2, 3, 4), correction=0)
    assert_close(norm.running_mean, 0.01 * mean, "moving mean")
    assert_close(norm.running_var, 0.99 + 0.01 * variance, "moving variance")
    assert torch.equal(norm.weight, before["norm.0.weight"])


@pytest.mark.parametrize("extents", [(6, 8, 8), (5, 7, 6)], ids=str)
def test_two_views_concatenated(rng, extents):
    network, image = made_up(rng, views=2), volume(rng, 1, 2, *extents)
    stages = reference.rln(image, network.state_dict())
    assert stages["temp_div"].shape[1] == stages["EST_div"].shape[1] == 2
    prediction, estimate = network.restore_and_estimate(image)
    assert prediction.shape == estimate.shape == (1, 1, *extents)
    assert_close(prediction, stages["first"], "prediction", factor=DEPTH)
    assert_close(estimate, stages["e"], "estimate", factor=DEPTH)
    assert_close(estimate, image.mean(1, keepdim=True) * stages["ave_12"], "estimate as a product")


def test_two_views_averaged(rng):
    network, image = made_up(rng, views=2, merge="averaged"), volume(rng, 1, 2, 6, 8, 8)
    single = RLN().double().eval()
    single.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(network(image), single(image.mean(1, keepdim=True)))


def test_receptive_field(rng):
    # A voxel reaches 17 others at most, and shifts by 2 commute beyond that.
    network, image = made_up(rng), volume(rng, 1, 1, 2, 2, 84)
    changed = image.clone()
    changed[..., 42] += 0.5
    with torch.no_grad():
        moved = (network(image) != network(changed)).nonzero()[:, 4]
        shifted = network(image[..., 2:])
        whole = network(image)[..., 2:]
    assert 42 - 17 <= int(moved.min()) < 42 < int(moved.max()) <= 42 + 17
    assert_close(shifted[..., 17:], whole[..., 17:], "shifted", factor=DEPTH)


def test_save_and_load(rng, tmp_path):
    network = made_up(rng, torch.float32, views=2, merge="averaged", denominator=1e-3)
    network.save(tmp_path / "w.safetensors", steps=7)
    again = RLN.from_pretrained(tmp_path / "w.safetensors")
    assert again.options == network.options
    for name, values in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], values)
    assert RLN.from_pretrained(tmp_path / "w.safetensors", gradients="published").views == 2
    with pytest.raises(FileExistsError):
        network.save(tmp_path / "w.safetensors")


def test_rejects_weights_of_another_network(tmp_path):
    MRBCR().save(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"must be those of an RLN, got .* of 'mrbcr'"):
        RLN.from_pretrained(tmp_path / "w.safetensors")


def test_fresh_weights(rng):
    torch.manual_seed(1)
    network = RLN()
    assert sum(p.numel() for p in network.parameters()) == 15_968
    blur = network.conv["2"].weight.detach()
    assert bool((blur.amax((2, 3, 4)) == blur[:, :, 1, 1, 1]).all())
    spread = blur[:, :, 1, 1, 0] / blur[:, :, 1, 1, 1]  # exp(-1 / 2 sigma^2)
    sigma = torch.tensor([2.0, 0.5, 1.0, 1.5])
    assert_close(spread, torch.exp(-0.5 / sigma**2)[:, None].expand(4, 4), "sigmas")
    drawn = network.conv["15"].weight.detach()
    assert float(drawn.abs().max()) <= 2
    assert 0.8 < float(drawn.std()) < 0.95  # 0.88: a normal distribution cut at two sigmas


def test_loss_of_perfect_prediction(rng):
    target = volume(rng, 2, 1, 4, 5, 6)
    halfway = 0.8 * target + 0.2 * target
    loss = rln_loss(target, halfway, target, target)
    assert float(loss) == pytest.approx(1.1e-4, abs=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_restore(rng, kind):
    network, image = made_up(rng, torch.float32), volume(rng, 5, 6, 7)
    restored = network.restore(kind(image.numpy().astype(np.float32)))
    assert type(restored) is type(kind(image.numpy()))
    with torch.no_grad():
        assert_close(restored, network(image[None, None].float())[0, 0], "restored")
    assert not torch.as_tensor(restored).is_inference()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"views": 3}, ValueError, "views must be one of 1, 2, got 3"),
        ({"gradients": "true"}, ValueError, "gradients must be one of 'exact', 'published'"),
        ({"views": 2, "merge": "sum"}, ValueError, "merge must be one of"),
        ({"denominator": -1e-4}, ValueError, "denominator must not be negative"),
        ({"denominator": float("nan")}, ValueError, "denominator must be finite"),
        ({"denominator": "small"}, TypeError, "denominator must be a number"),
    ],
)
def test_rejects_options(options, error, match):
    with pytest.raises(error, match=match):
        RLN(**options)


@pytest.mark.parametrize(
    ("image", "error", "match"),
    [
        (torch.zeros(1, 1, 1, 8, 8), ValueError, "at least 2 voxels along each axis"),
        (torch.zeros(1, 2, 8, 8, 8), ValueError, r"axes \(batch, 1, z, y, x\)"),
        (torch.zeros(8, 8, 8), ValueError, r"got shape \(8, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8, 8, dtype=torch.int32), TypeError, "floating-point.*int32"),
        (np.zeros((1, 1, 8, 8, 8)), TypeError, "floating-point tensor, got ndarray"),
    ],
)
def test_rejects_images(image, error, match):
    with pytest.raises(error, match=match):
        RLN()(image)


def test_rejects_views():
    network, a = RLN(views=2), np.zeros((4, 6, 8), np.float32)
    with pytest.raises(ValueError, match=r"one shape, got \(4, 6, 8\) and \(4, 6, 6\)"):
        network.restore(a, a[..., :6])
    with pytest.raises(ValueError, match="must be 2 volumes, got 1"):
        network.restore(a)
