# SPDX-License-Identifier: BSD-3-Clause
"""m-rBCR against its twin and against the authors' own code and weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compare import assert_close
from otfuse import reference
from otfuse.io import read_tf_checkpoint, read_weights, write_weights
from otfuse.nn import MRBCR, mrbcr_loss
from otfuse.nn._mrbcr_published import from_keras, keras_names
from otfuse.nn.mrbcr_loss import mrbcr_losses
from otfuse.simulate import specimen
from otfuse.tiling import map_tiles
from otfuse.tiling.mrbcr_plan import plan_mrbcr
from shared_data import shared_folder

VECTORS = ["mrbcr_biosr", "debcr_2D_denoising", "debcr_confocal_SR"]
OTHERS = ["debcr_3D_denoising", "debcr_bright_SR"]


def vectors(name: str) -> dict[str, torch.Tensor]:
    """Reference arrays in torch's order of axes."""
    with np.load(shared_folder(f"reference/{name}.npz")) as file:
        arrays = {key: file[key] for key in file}
    return {
        key: torch.from_numpy(a.transpose(0, 3, 1, 2) if a.ndim == 4 and ":" not in key else a)
        for key, a in arrays.items()
    }


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.fixture
def network(rng: np.random.Generator) -> MRBCR:
    """Random weights, biases that are not zero, float64."""
    torch.manual_seed(int(rng.integers(1 << 30)))
    made = MRBCR().double()
    with torch.no_grad():
        for name, values in made.named_parameters():
            if name.endswith("bias"):
                values.uniform_(-0.1, 0.1)
    return made.eval()


def noise(rng: np.random.Generator, *shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(0, 1, shape)).to(dtype)


def test_size() -> None:
    sizes = [p.numel() for p in MRBCR().parameters()]
    assert len(sizes) == 296 and sum(sizes) == 236_630


@pytest.mark.parametrize("name", [*VECTORS, "debcr_bright_SR"])
@pytest.mark.parametrize("extents", [(96, 1000), (1000, 96)])
def test_tiles_are_the_whole(name: str, extents: tuple[int, int], rng: np.random.Generator) -> None:
    """Within 1e-4 of the maximum, specimens under noise; largest difference measured: 2e-5."""
    network = MRBCR.from_pretrained(shared_folder(f"checkpoints/{name}"))
    light = specimen((24, *extents), seed=3).amax(0).numpy()
    counts = rng.poisson(200 * light / light.max() + 5)
    image = (counts / counts.max()).astype(np.float32)
    plan = plan_mrbcr(extents, 70_000_000)
    tiled = np.concatenate(list(map_tiles(network.restore, image, plan)))
    whole = network.restore(image)
    assert len(plan) > 1 and plan.margin.count(104) == 1
    assert np.abs(tiled - whole).max() <= 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("name", VECTORS)
def test_parity_with_the_released_weights(name: str) -> None:
    """The authors' code, run by TensorFlow; largest difference measured: 1e-6."""
    expected = vectors(name)
    network = MRBCR.from_pretrained(shared_folder(f"checkpoints/{name}"))
    with torch.no_grad():
        restored = network(expected["x0"])
        first = network.body.first_stage(expected["x0"])
    for z, y, scale in zip(restored, first, (0, 2, 4), strict=True):
        assert worst(y, expected[f"y{scale}"]) <= 1e-6
        assert worst(z, expected[f"z{scale}"]) <= 2e-5
    one = network.restore(expected["x0"][4, 0].numpy())
    assert worst(torch.from_numpy(one), expected["z0"][4, 0]) <= 2e-5


@pytest.mark.parametrize("name", OTHERS)
def test_other_released_weights_load_and_run(name: str, rng: np.random.Generator) -> None:
    folder = shared_folder(f"checkpoints/{name}")
    network, variables = MRBCR.from_pretrained(folder), read_tf_checkpoint(folder)
    state = network.state_dict()
    assert len(variables) == 2 * len(list(keras_names())) + 1  # and the counter of saves
    for layer, keras in keras_names():
        kernel = from_keras("kernel", variables[f"{keras}/kernel"])
        np.testing.assert_array_equal(state[f"body.{layer}.weight"].numpy(), kernel)
        np.testing.assert_array_equal(
            state[f"body.{layer}.bias"].numpy(), variables[f"{keras}/bias"]
        )
    with torch.no_grad():
        restored = network(noise(rng, 1, 1, 32, 32, dtype=torch.float32))
    for z in restored:
        assert bool(torch.isfinite(z).all()) and float(z.std()) > 0


def test_stages_match_the_released_code() -> None:
    """Every stage of the twin, of which the network's are tested below."""
    network = MRBCR.from_pretrained(shared_folder("checkpoints/mrbcr_biosr"))
    image = vectors("mrbcr_biosr")["x0"][:1]
    expected = vectors("mrbcr_biosr_intermediates")
    with torch.no_grad():
        stages = reference.mrbcr(image, network.state_dict())
    for name, stage, channels in (
        ("u0_ch0_7", "u0", slice(0, 8)),
        ("u2", "u2", slice(None)),
        ("u4", "u4", slice(None)),
        ("xi_4", "xi4", slice(None)),
        ("xi_2_ch32_47", "xi2", slice(32, 48)),
        ("xi_0_ch32_39", "xi0", slice(32, 40)),
        ("fwd_fusion_call0_ch0_3", "f0", slice(0, 4)),
    ):
        difference = worst(stages[stage][:, channels], expected[name])
        assert difference <= 1e-5 * float(expected[name].abs().max()), name


def test_training_step_of_the_released_code() -> None:
    """Loss within 1e-5, each gradient within 1e-4 of its norm."""
    step = vectors("mrbcr_train_step")
    network = MRBCR.from_pretrained(shared_folder("checkpoints/mrbcr_biosr")).train()
    restored = network(step["x0"])
    terms = mrbcr_losses(restored, step["target0"], spectrum="line")
    loss = mrbcr_loss(restored, step["target0"], spectrum="line")
    loss.backward()
    assert abs(loss.item() - step["loss"].item()) <= 1e-5
    assert worst(terms.detach(), step["loss_per_scale"]) <= 1e-5
    parameters = dict(network.named_parameters())
    for layer, keras in keras_names():
        for kind, name in (("kernel", "weight"), ("bias", "bias")):
            expected = torch.from_numpy(from_keras(kind, step[f"grad:{keras}/{kind}"].numpy()))
            grad = parameters.pop(f"body.{layer}.{name}").grad
            assert float((grad - expected).norm()) <= 1e-4 * float(expected.norm()), keras
    assert not parameters


def test_matches_reference(network: MRBCR, rng: np.random.Generator) -> None:
    image = noise(rng, 2, 1, 20, 28).requires_grad_()
    parameters = dict(network.named_parameters())
    stages = reference.mrbcr(image, network.state_dict(keep_vars=True))
    expected = [stages[f"z{scale}"] for scale in (0, 2, 4)]
    actual = network(image)
    for name, a, b in zip(("z0", "z2", "z4"), actual, expected, strict=True):
        assert_close(a, b, name, factor=10)
    target = noise(rng, 2, 1, 20, 28)
    arrays = [image, *parameters.values()]
    want = torch.autograd.grad(mrbcr_loss(expected, target), arrays)
    have = torch.autograd.grad(mrbcr_loss(actual, target), arrays)
    for name, a, b in zip(["image", *parameters], have, want, strict=True):
        assert_close(a, b, f"gradient in {name}", factor=100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_inference_is_what_was_learned(
    network: MRBCR, rng: np.random.Generator, dtype: torch.dtype
) -> None:
    """The fused kernels, which take over where no gradient is asked for."""
    network, image = network.to(dtype), noise(rng, 2, 1, 24, 36, dtype=dtype)
    learning = network(image)
    with torch.no_grad():
        fused = network(image)
    for name, a, b in zip(("z0", "z2", "z4"), fused, learning, strict=True):
        assert not torch.equal(a, b.detach())  # other sums, other rounding
        assert_close(a, b, name, factor=10)


@pytest.mark.parametrize("extents", [(16, 17), (18, 23), (19, 20)])
def test_any_extents(network: MRBCR, rng: np.random.Generator, extents: tuple[int, int]) -> None:
    """What is no multiple of 4 is the reflected image's result, cropped."""
    ny, nx = extents
    image = noise(rng, 1, 1, ny, nx)
    wide = np.pad(image[0, 0].numpy(), ((0, -ny % 4), (0, -nx % 4)), mode="reflect")
    with torch.no_grad():
        restored = network(image)
        whole = network(torch.from_numpy(wide)[None, None])
    for z, w, step in zip(restored, whole, (1, 2, 4), strict=True):
        assert z.shape[2:] == (-(-ny // step), -(-nx // step))
        assert torch.equal(z, w[..., : z.shape[2], : z.shape[3]])


def test_translation_by_four_commutes(rng: np.random.Generator) -> None:
    """Beyond the reach of the edges: 261 pixels along x, 175 along y."""
    torch.manual_seed(int(rng.integers(1 << 30)))
    network = MRBCR().eval()
    image = noise(rng, 1, 1, 372, 604, dtype=torch.float32)
    with torch.no_grad():
        a = network(image[..., :368, :600])[0]
        b = network(image[..., 4:, 4:])[0]
    inner = a[..., 176 + 4 : 368 - 176, 264 + 4 : 600 - 264]
    moved = b[..., 176 : 368 - 180, 264 : 600 - 268]
    assert inner.shape == moved.shape and inner.numel() > 700
    assert worst(inner, moved) <= 1e-5 * float(inner.abs().max())
    assert worst(a[..., 4:, 4:], b[..., :-4, :-4]) > 1e-3 * float(inner.abs().max())


def test_restore_keeps_kind_and_axes(network: MRBCR, rng: np.random.Generator) -> None:
    stack = rng.uniform(0, 1, (2, 3, 16, 20)).astype(np.float32)
    restored = network.restore(stack)
    assert isinstance(restored, np.ndarray) and restored.shape == stack.shape
    single = network.restore(torch.from_numpy(stack[1, 2]))
    assert_close(single, restored[1, 2], "one image", dtype=torch.float64)
    assert not single.is_inference()


@pytest.mark.parametrize("spectrum", ["plane", "line"])
def test_loss(spectrum: str, rng: np.random.Generator) -> None:
    """Against the sum written out; white differences weigh the same in both spectra."""
    target = noise(rng, 2, 1, 32, 64)
    restored = [noise(rng, 2, 1, 32 // s, 64 // s) for s in (1, 2, 4)]
    total = 0.0
    for s, z in zip((1, 2, 4), restored, strict=True):
        d = z.numpy() - target.numpy()[..., ::s, ::s]
        waves = np.fft.fft2(d) / np.sqrt(32 // s) if spectrum == "plane" else np.fft.fft(d)
        total += (d**2).mean() + 0.5 * np.abs(waves).mean()
    assert float(mrbcr_loss(restored, target, spectrum=spectrum)) == pytest.approx(total)
    other = mrbcr_loss(restored, target, spectrum="line")
    assert float(mrbcr_loss(restored, target)) == pytest.approx(float(other), rel=0.2)


def test_safetensors_round_trip(network: MRBCR, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    network.float().save(path, source="made up")
    again = MRBCR.from_pretrained(path)
    assert not again.training
    for name, values in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], values)
    assert read_weights(path)[1] == {"model": "mrbcr", "options": {}, "source": "made up"}
    with pytest.raises(FileExistsError):
        network.save(path)


def test_wrong_weights_are_named(network: MRBCR, tmp_path: Path) -> None:
    arrays = {name: v.numpy() for name, v in network.state_dict().items()}
    path = tmp_path / "w.safetensors"

    def refused(words: str, changed: dict, record: dict) -> None:
        write_weights(path, changed, record, overwrite=True)
        with pytest.raises(ValueError, match=words):
            MRBCR.from_pretrained(path)

    mine = {"model": "mrbcr", "options": {}}
    name = "body.head.0.weight"
    fewer = {k: v for k, v in arrays.items() if k != name}
    refused(rf"missing: {name}; surplus: extra$", {**fewer, "extra": np.zeros(1)}, mine)
    refused(
        r"other extents: body.head.0.weight \(2,\) for \(1, 48", {**arrays, name: np.zeros(2)}, mine
    )
    refused("must be finite, got body.head.0.weight", {**arrays, name: arrays[name] * np.nan}, mine)
    refused("weights of 'rln'", arrays, {"model": "rln"})
    refused("'an unknown network'", arrays, {})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="complete safetensors file"):
        MRBCR.from_pretrained(path)
    with pytest.raises(FileNotFoundError):
        MRBCR.from_pretrained(tmp_path / "none.safetensors")


def test_checkpoint_of_another_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"missing: .*290 more; surplus: batch_norm.*179 more"):
        MRBCR.from_pretrained(shared_folder("checkpoints/rln_mito"))


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (torch.zeros(1, 1, 15, 16), ValueError, "at least 16 pixels"),
        (torch.zeros(1, 2, 16, 16), ValueError, r"axes \(batch, 1, y, x\)"),
        (torch.zeros(16, 16), ValueError, r"axes \(batch, 1, y, x\)"),
        (torch.full((1, 1, 16, 16), torch.nan), ValueError, "must be finite"),
        (torch.zeros(1, 1, 16, 16, dtype=torch.int32), TypeError, "floating-point"),
        (np.zeros((1, 1, 16, 16)), TypeError, "floating-point tensor, got ndarray"),
    ],
)
def test_rejects(image: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        MRBCR()(image)


def test_restore_rejects(network: MRBCR) -> None:
    with pytest.raises(ValueError, match=r"axes \(\.\.\., y, x\)"):
        network.restore(np.zeros(20))
    with pytest.raises(ValueError, match="loss: spectrum must be one of"):
        mrbcr_loss([], torch.zeros(1), spectrum="cube")
