# SPDX-License-Identifier: BSD-3-Clause
"""The quality benchmark: no inverse crime, the right sums, bars that can be missed."""

import math

import pytest
import torch

from otfuse import fft_convolve, metrics
from otfuse.bench import quality
from otfuse.bench.quality import bars, command, methods, report, run, scenes
from otfuse.psf import gaussian

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = (10, 20, 20)


@pytest.fixture(autouse=True)
def small_fields(monkeypatch):
    monkeypatch.setattr(scenes, "MARGIN", (2, 4, 4))
    monkeypatch.setattr(run, "SIZES", {"small": SHAPE})
    monkeypatch.setattr(run, "_TIMED_ROUNDS", 1)
    monkeypatch.setattr(run, "_STOP_ROUNDS", 1)
    scenes._recorded_once.cache_clear()
    yield
    scenes._recorded_once.cache_clear()


@pytest.fixture
def scene():
    return scenes.simulated("shells", "confocal", 200.0, SHAPE)


def test_image_is_the_blurred_truth_but_not_by_the_psf_that_restores(scene):
    """The scalar model at camera voxels comes close to the vectorial one on the fine grid."""
    truth, light = scenes.recorded("shells", "confocal", SHAPE, margin=(2, 4, 4))
    box = scenes.inner(SHAPE, (2, 4, 4))
    pads = [side for k in reversed(scene.wide_psf.shape) for side in (k // 2, k // 2)]
    padded = torch.nn.functional.pad(truth, pads)
    again = fft_convolve(padded, scene.wide_psf, boundary="extended")[box]
    assert metrics.correlation(light[box], again) > 0.95
    assert float(again.sum() / light[box].sum()) == pytest.approx(1, abs=0.25)
    assert not torch.allclose(again, light[box], rtol=1e-2, atol=0)


def test_images_are_photons_that_a_seed_decides(scene):
    image = scene.image(3)
    assert image.shape == scene.truth.shape == SHAPE
    assert torch.equal(image, scene.image(3))
    assert not torch.equal(image, scene.image(4))
    assert image.min() >= 0
    assert float(torch.stack([scene.image(s) for s in range(5)]).mean(0).max()) == pytest.approx(
        200 + scenes.BACKGROUND, rel=0.15
    )


def test_optics_off_differ(scene):
    exact, off = scene.psfs["exact"], scene.psfs["off"]
    assert exact.shape == off.shape
    assert 0.005 < float((exact - off).abs().sum()) < 1


def test_every_method_gives_an_image(scene):
    seen = methods.Observation(scene.image(0), scene.psfs["exact"], scene.background)
    names = [method.name for method in methods.METHODS]
    assert len(set(names)) == len(names)
    for method in (*methods.METHODS, *methods.installed_filters()):
        result = method.run(seen, method.values[0])
        assert result.shape == SHAPE, method.name
        assert bool(torch.isfinite(result).all()), method.name
        assert result.min() >= 0, method.name
        assert list(method.values) == sorted(method.values)


def test_a_trace_is_as_many_runs(scene):
    seen = methods.Observation(scene.image(0), scene.psfs["exact"], scene.background)
    method = next(m for m in methods.METHODS if m.name == "shb")
    traced = dict(method.trace(seen, (2, 5, 7, 15)))
    assert list(traced) == [2, 5, 7, 15]
    for value, result in traced.items():
        assert torch.allclose(result, method.run(seen, value), rtol=1e-4, atol=1e-4)


def test_peers_get_the_same_light(scene):
    seen = methods.Observation(scene.image(0), scene.psfs["exact"], scene.background)
    image, kernel, box = methods.padded(seen)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert all(k % 2 == 1 and k <= n for k, n in zip(kernel.shape, image.shape, strict=True))
    assert torch.equal(image[box], (seen.image - seen.background).clamp(min=1e-6))


def test_summary_is_students_interval():
    found = run.summary([{"psnr": v, "ssim": math.nan} for v in (1.0, 2.0, 3.0, 4.0)])
    assert found["psnr"]["mean"] == 2.5
    assert found["psnr"]["interval"] == pytest.approx(3.182 * math.sqrt(5 / 3) / 2, rel=1e-3)
    assert found["ssim"] == {"mean": None, "interval": None}
    assert run._half_width([float(i) for i in range(21)]) == pytest.approx(
        2.086 * 6.2048 / math.sqrt(21), rel=5e-3
    )


def method(best, seconds, values=(10,), **more):
    point = {"psnr": {"mean": best, "interval": 0.1}}
    return {"values": list(values), "seconds": seconds, "points": [point], "stops": {}, **more} | {
        "best": {"value": values[0], **point}
    }


def condition(**change):
    wb = method(29.9, [0.05], (2,), default=2)
    rl = method(30.0, [1.0])
    rl["stops"] = {"held_out": {"psnr": {"mean": 29.8, "interval": 0.1}}}
    found = {"rl": rl, "shb": method(29.95, [0.3]), "wiener_butterworth": wb}
    one = {"name": "x", "optics": "exact", "modality": "widefield", "methods": found}
    beyond = {"extended": -0.01, "circular": 0.1}
    return {**one, "edges": {"extended": 0.01, "circular": 0.2, "beyond": beyond}, **change}


def test_bars_are_met_and_missed():
    assert [bar["met"] for bar in bars.bars([condition()])] == [True] * 5
    slow = condition()
    slow["methods"]["shb"]["seconds"] = [0.4]
    slow["methods"]["wiener_butterworth"]["points"][0]["psnr"]["mean"] = 29.6
    slow["methods"]["rl"]["stops"]["held_out"]["psnr"]["mean"] = 29.6
    slow["edges"] = {"extended": 0.03, "circular": 0.2}
    slow["edges"]["beyond"] = {"extended": 0.02, "circular": 0.1}
    assert [bar["met"] for bar in bars.bars([slow])] == [False] * 5
    far = condition()
    far["methods"]["shb"]["points"][0]["psnr"]["mean"] = 29.5
    assert "nowhere" in bars.bars([far])[0]["measured"]
    assert bars.bars([condition(modality="confocal"), condition(optics="off")]) == []


def test_run_writes_everything(tmp_path):
    seen = []
    conditions = [quality.Condition("nuclei", group="all"), quality.Condition("nuclei")]
    result, pictures = quality.run_quality(
        seeds=2,
        conditions=[*conditions, quality.Condition("pollen", "as given", None)],
        progress=seen.append,
    )
    assert seen[0] == "nuclei, widefield, 100 photons"
    assert result["left_out"] == ["pollen"]
    assert len(result["bars"]) == 5
    quality.save(tmp_path, result, pictures)
    again, volumes = quality.load(tmp_path)
    best, expected = (
        r["conditions"][0]["methods"]["shb"]["best"]["psnr"]["mean"] for r in (again, result)
    )
    assert best == pytest.approx(expected, rel=1e-5)
    assert again["bars"] == result["bars"]
    assert volumes.keys() == pictures.keys()
    assert (tmp_path / "nuclei.png").stat().st_size > 10_000
    text = (tmp_path / "README.md").read_text()
    assert "## Bars" in text
    assert "- pollen" in text
    assert "| wiener_butterworth | default (iterations 2) |" in text
    core = {**again, "conditions": again["conditions"][1:]}
    before = core["conditions"][0]["methods"]["wiener_butterworth"]
    quality.measure_again(core, volumes, ["wiener_butterworth"])
    after = core["conditions"][0]["methods"]["wiener_butterworth"]
    assert after is not before and after["seconds"] == before["seconds"]
    for point, expected in zip(after["points"], before["points"], strict=True):
        assert point["psnr"]["mean"] == pytest.approx(expected["psnr"]["mean"], rel=1e-5)
    found, expected = (r["conditions"][-1]["methods"]["rl"]["stops"] for r in (core, result))
    for rule, point in found.items():
        assert point["psnr"]["mean"] == pytest.approx(expected[rule]["psnr"]["mean"], rel=1e-5)
        assert point["seconds"] == pytest.approx(expected[rule]["seconds"], rel=1e-5)
    none_left, _ = quality.run_quality(seeds=2, minutes=-1, conditions=conditions)
    assert none_left["left_out"] == [c.name for c in conditions]


def test_says_where_something_else_is_better():
    one = condition()
    one["methods"] = {"shb": method(30.0, [1.0], (30,), default=30, knob="iterations")}
    one["methods"]["tikhonov"] = method(31.0, [1.0], (0.1,), default=None, knob="strength")
    lines = report._not_best({"conditions": [one]})
    assert lines == ["- x: above shb's 30 iterations (30.0 dB) tikhonov as it is +1.0 dB"]
    one["methods"]["tikhonov"] = method(30.05, [1.0], (0.1,), default=None, knob="strength")
    assert report._not_best({"conditions": [one]}) == []


def test_command_bar(monkeypatch):
    monkeypatch.setattr(command, "_MARGIN", (1, 2, 2))
    bar = command.command_bar("beads", (6, 32, 32))
    assert "6x32x32" in bar["where"]
    assert bar["measured"].endswith("s")
    assert isinstance(bar["met"], bool)


def test_run_refuses():
    with pytest.raises(ValueError, match="size must be one of small, got 'huge'"):
        quality.run_quality(size="huge")
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        quality.run_quality(seeds=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1"], "bench: --seeds must be at least 2, got 1"),
        (["--size", "huge"], "bench: --size must be one of small, medium, large, got huge"),
        (["--minutes", "-1"], "bench: --minutes must not be negative, got -1"),
    ],
)
def test_command_refuses(words, message, tmp_path, capsys):
    from otfuse.cli import main

    assert main(["bench", "--quality", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_command_with_no_time(tmp_path, capsys):
    from otfuse.cli import main

    assert main(["bench", "--quality", str(tmp_path), "--minutes", "0", "--seeds", "2"]) == 0
    assert "quality.json" in capsys.readouterr().out


def test_pollen_is_the_middle_of_its_field(tmp_path, rng):
    tifffile = pytest.importorskip("tifffile")
    kernel = gaussian((8, 24, 24), 1.0).numpy()
    names = {"": rng.integers(0, 9, (8, 24, 24)).astype("uint16"), "_psf": kernel}
    names["_poisson_noise_blurred"] = rng.normal(5, 3, (8, 24, 24)).astype("float32")
    for name, values in names.items():
        tifffile.imwrite(tmp_path / f"sdeconv_pollen{name}.tif", values, photometric="minisblack")
    scene = scenes.pollen(tmp_path)
    assert scene.image(0).shape == scene.truth.shape == (8, 12, 12)
    assert scene.image(0).min() >= 0
    assert max(scene.psfs["exact"].shape) < 24
    assert scene.seeds == 1
