# SPDX-License-Identifier: BSD-3-Clause
"""Background and saturation: found where they are, not found where they are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from otfuse.io import auto_background, find_saturation, percentile
from otfuse.io.camera import dark_levels


@pytest.mark.parametrize("shape", [(1, 9, 20, 31), (1, 1, 20, 31), (3, 5, 7, 1), (1, 2, 3, 2)])
def test_background_is_the_minimum_of_the_smoothed_image(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    volumes = rng.integers(0, 4000, shape).astype(np.uint16)
    expected = min(
        ndimage.gaussian_filter(v.astype(np.float64), 2.0, mode="reflect", truncate=3.0).min()
        for v in volumes
    )
    assert auto_background(volumes) == pytest.approx(expected, rel=1e-5)


def test_background_of_a_flat_camera_offset(rng: np.random.Generator) -> None:
    image = rng.normal(100, 10, (1, 16, 64, 64))
    image[0, 4:12, 20:40, 20:40] += 1000
    assert auto_background(image) == pytest.approx(100, abs=4)


def test_background_is_one_for_all_time_points(rng: np.random.Generator) -> None:
    series = np.stack([np.full((4, 8, 8), level) for level in (120, 101, 140)])
    assert auto_background(series) == pytest.approx(101)


def test_background_takes_volumes_one_by_one() -> None:
    assert auto_background(np.full((4, 5, 6), v) for v in (7.0, 5.0)) == pytest.approx(5)


@pytest.mark.parametrize("shape", [(1, 9, 64, 64), (2, 1, 64, 64)])
def test_the_offset_lies_two_deviations_below(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    """Of the dark places' noise: bright ones are noisier."""
    image = rng.normal(100, 5, shape)
    image[..., 20:40, 20:40] += rng.normal(1000, 50, (*shape[:2], 20, 20))
    level, dark = dark_levels(image)
    assert level == auto_background(image)
    assert level - dark == pytest.approx(10, rel=0.15)


def test_the_offset_of_what_is_even_or_narrow() -> None:
    assert dark_levels(np.full((1, 4, 8, 8), 7.0)) == (pytest.approx(7), pytest.approx(7))
    assert dark_levels(np.full((1, 4, 8, 2), 7.0)) == (pytest.approx(7), pytest.approx(7))
    noisy = np.random.default_rng(0).normal(2, 5, (1, 4, 32, 32))
    assert dark_levels(noisy)[1] == 0


@pytest.mark.parametrize("percent", [5, 50])
def test_percentile_of_a_large_image_is_sampled(percent: float, monkeypatch: object) -> None:
    image = np.arange(3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64)
    assert percentile(image, percent) == pytest.approx(np.percentile(image, percent))
    from otfuse.io import camera

    monkeypatch.setattr(camera, "_SAMPLE", 500)  # type: ignore[attr-defined]
    assert percentile(image, percent) == pytest.approx(np.percentile(image, percent), rel=0.03)


@pytest.mark.parametrize("level", [255, 1023, 4095, 16383, 65535, 65520])
def test_finds_a_converter_at_its_end(level: int, rng: np.random.Generator) -> None:
    image = np.minimum(rng.exponential(level / 4, (2, 8, 32, 32)), level).astype(np.uint16)
    image[0, 0, 0, :3] = level
    found = find_saturation(image)
    assert found is not None and found.level == level
    assert found.count == np.count_nonzero(image == level)


def test_finds_a_plateau_at_an_odd_level(rng: np.random.Generator) -> None:
    image = np.minimum(rng.exponential(1500, (1, 16, 64, 64)), 3995.0).astype(np.float32)
    found = find_saturation(image)
    assert found is not None and found.level == 3995


@pytest.mark.parametrize("name", ["poisson", "dim", "constant", "one voxel at full scale"])
def test_no_saturation_where_there_is_none(name: str, rng: np.random.Generator) -> None:
    image = {
        "poisson": rng.poisson(900, (1, 16, 64, 64)),
        "dim": rng.poisson(0.5, (1, 16, 64, 64)),
        "constant": np.full((1, 4, 8, 8), 700),
        "one voxel at full scale": np.where(np.arange(4096) == 7, 65535, 3).reshape(1, 4, 32, 32),
    }[name]
    assert find_saturation(image.astype(np.uint16)) is None


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("flowdec_neuron-25pct_data.tif", 255),
        ("deconwolf_dapi_001.tif", None),
        ("flowdec_bead-25pct_data.tif", None),
        ("flowdec_bars-25pct_data.tif", None),
        ("sdeconv_pollen_poisson_noise_blurred.tif", None),
    ],
)
def test_saturation_of_real_stacks(
    name: str, level: int | None, shared_stack: Callable[[str], np.ndarray]
) -> None:
    found = find_saturation(shared_stack(name)[None])
    assert (found.level if found else None) == level
