# SPDX-License-Identifier: BSD-3-Clause
"""Percentiles of volumes read plane by plane."""

import numpy as np
import pytest

from otfuse.cli._memory import resident
from otfuse.io import streamed_percentiles

PERCENTS = (0.0, 0.01, 1.0, 50.0, 99.5, 100.0)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_small_integers_are_exact(rng, dtype):
    limits = np.iinfo(dtype)
    volume = rng.integers(limits.min, limits.max, (3, 7, 11), dtype=dtype, endpoint=True)
    expected = np.percentile(volume, PERCENTS)
    np.testing.assert_allclose(streamed_percentiles(volume, PERCENTS), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint32", ">f4"])
def test_others_to_a_millionth_of_the_range(rng, dtype):
    volume = (1e6 * rng.gamma(0.5, 1, (2, 5, 9, 8))).astype(dtype)
    expected = np.percentile(volume.astype(np.float64), PERCENTS)
    actual = streamed_percentiles(volume, PERCENTS)
    np.testing.assert_allclose(actual, expected, atol=1.1e-6 * np.ptp(volume))


def test_constant():
    assert streamed_percentiles(np.full((2, 3, 4), 2.5), (0.01, 99.5)) == (2.5, 2.5)


def test_mapped_file(rng, tmp_path):
    volume = rng.integers(0, 4000, (4, 6, 5), dtype=np.uint16)
    volume.tofile(tmp_path / "volume")
    mapped = np.memmap(tmp_path / "volume", np.uint16, "r", shape=volume.shape)
    expected = np.percentile(volume, (5, 95))
    np.testing.assert_allclose(streamed_percentiles(mapped, (5, 95)), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rejects_values_that_are_not_finite(value):
    volume = np.zeros((2, 3, 4), np.float32)
    volume[1, 2, 3] = value
    with pytest.raises(ValueError, match="volume must be finite"):
        streamed_percentiles(volume, (50,))


def test_a_mapped_file_takes_a_plane_of_memory(tmp_path):
    shape = (40, 512, 1024)
    np.zeros(shape, np.uint16).tofile(tmp_path / "volume")
    mapped = np.memmap(tmp_path / "volume", np.uint16, "r", shape=shape)
    before = resident()
    streamed_percentiles(mapped, (50,))
    assert resident() - before < mapped.nbytes / 4
