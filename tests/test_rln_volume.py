# SPDX-License-Identifier: BSD-3-Clause
"""RLN on volumes: scale of intensities, tiles, and the authors' crop and stitch."""

import numpy as np
import pytest
import torch

from otfuse.nn.rln_scale import IntensityScale
from otfuse.nn.rln_stitch import published_blocks, published_weight, restore_as_published
from otfuse.tiling import cut, plan_tiles, stream_tiles
from test_rln import made_up


@pytest.mark.parametrize(
    ("low", "high", "offset", "span"),
    [(10, 100, 10, 90), (0, 0, 0, 1), (60, 100, 0, 100), (50, 100, 50, 50), (-4, 4, -4, 8)],
)
def test_scale(low, high, offset, span):
    scale = IntensityScale.from_percentiles(low, high)
    assert (scale.offset, scale.span) == pytest.approx((offset, span))
    values = np.array([low, high, 7.0], np.float32)[:, None, None]
    np.testing.assert_allclose(scale.apply(values), (values - offset) / span, rtol=1e-6)
    there = scale.to_network(values)
    np.testing.assert_allclose(there, scale.apply(values), rtol=1e-6, atol=1e-6)
    scale.to_image(there)
    np.testing.assert_allclose(there, values, rtol=1e-6, atol=1e-6)


def test_scale_of_a_volume(rng):
    volume = rng.gamma(2, 100, (6, 20, 30))
    low, high = np.percentile(volume, (0.01, 99.5))
    assert IntensityScale.of(volume) == IntensityScale(low, high - low + 1e-20)


def test_tiles_do_not_show(rng):
    network = made_up(rng, torch.float32)
    whole = rng.uniform(0, 1, (10, 100, 61)).astype(np.float32)
    expected = network.restore(whole)
    # Cut along y, which is made the first axis: blocks come out in its order.
    plan = plan_tiles((100, 10, 61), (60, 10, 61), (40, 0, 0), multiple=2, margin=(18, 0, 0))
    swapped = whole.transpose(1, 0, 2)
    out = np.empty_like(swapped)

    def write(row, block):
        out[row : row + len(block)] = block

    stream_tiles(
        plan,
        lambda tile: cut(swapped, tile).transpose(1, 0, 2),
        lambda tile: network.restore(tile).transpose(1, 0, 2),
        write,
    )
    assert len(plan) == 3
    assert np.abs(out.transpose(1, 0, 2) - expected).max() <= 1e-5 * expected.max()


@pytest.mark.parametrize(
    ("shape", "crop", "overlap"),
    [
        ((32, 512, 512), (32, 1618, 1618), (0, 24, 24)),
        ((100, 512, 512), (100, 914, 914), (10, 24, 24)),
        ((39, 511, 512), (39, 1466, 1466), (0, 23, 24)),
        ((40, 511, 511), (40, 1448, 1448), (10, 32, 24)),
        ((5, 64, 64), (5, 1998, 1998), (0, 24, 24)),
        ((3000, 900, 900), (2000, 204, 204), (10, 24, 24)),
    ],
)
def test_published_blocks(shape, crop, overlap):
    assert published_blocks(shape) == (crop, overlap)


def test_published_weight():
    weight = published_weight((3, 8, 5), (0, 3, 1))
    along_y = np.array([0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25])
    along_x = np.array([0.5, 1, 1, 1, 0.5])
    np.testing.assert_allclose(weight, np.ones((3, 1, 1)) * along_y[:, None] * along_x)


def test_published_scheme_by_its_definition(rng):
    volume = rng.gamma(1, 50, (4, 30, 23)).astype(np.float32)
    volume[:, :12] += 300
    crop, overlap = (4, 16, 12), (0, 4, 3)
    seen = []

    def restore(block):
        assert block.dtype == np.float32
        seen.append(block.shape)
        return np.square(block)

    total, weights = np.zeros(volume.shape), np.zeros(volume.shape)
    weight = published_weight(crop, overlap)
    # Three blocks along y (0, 12, 24) and three along x (0, 9, 18), the last ones cut off.
    for y in (0, 12, 24):
        for x in (0, 9, 18):
            block = volume[:, y : y + 16, x : x + 12].astype(np.float64)
            low, high = np.percentile(block, (0.01, 99.5))
            scaled = (block - low) / (high - low) if high >= 2 * low else block / high
            w = weight[:, : block.shape[1], : block.shape[2]]
            total[:, y : y + 16, x : x + 12] += w * scaled**2 * high
            weights[:, y : y + 16, x : x + 12] += w
    steps = []
    actual = restore_as_published(
        volume, restore, blocks=(crop, overlap), done=lambda *step: steps.append(step)
    )
    assert seen == [(4, ny, nx) for ny in (16, 16, 6) for nx in (12, 12, 5)]
    assert steps[-1] == (9, 9)
    expected = total / weights
    np.testing.assert_array_equal(actual, actual.astype(np.float16))
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-7)


def test_published_scheme_on_empty_and_small_volumes():
    empty = np.zeros((3, 6, 6), np.uint16)
    result = restore_as_published(empty, lambda block: block + 1)
    assert result.dtype == np.float32
    assert not result.any()


@pytest.mark.parametrize("factor", [2, -2, np.nan])
def test_published_scheme_refuses_what_float16_cannot_hold(factor):
    volume = np.linspace(0, 60_000, 300, dtype=np.float32).reshape(3, 10, 10)
    with pytest.raises(ValueError, match=r"within 65504 of 0, .* got"):
        restore_as_published(volume, lambda block: np.float32(factor) * block)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_published_scheme_refuses_what_is_not_finite(value):
    volume = np.ones((3, 10, 10), np.float32)
    volume[1, 2, 3] = value
    with pytest.raises(ValueError, match="volume must be finite"):
        restore_as_published(volume, lambda block: block)
