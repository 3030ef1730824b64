# SPDX-License-Identifier: BSD-3-Clause
"""PSNR, SSIM and correlation: against their definitions and against scikit-image."""

import math

import numpy as np
import pytest
import torch

from otfuse import metrics


@pytest.fixture
def pair(rng):
    truth = rng.random((12, 20, 23)) ** 3 + 0.5
    return truth, 3 * truth + 0.2 * rng.standard_normal(truth.shape)


def test_psnr_is_its_definition(pair):
    truth, result = pair
    scaled = result * (truth * result).sum() / (result * result).sum()
    error = ((truth - scaled) ** 2).mean()
    expected = 10 * math.log10((truth.max() - truth.min()) ** 2 / error)
    assert metrics.psnr(truth, result) == pytest.approx(expected, rel=1e-9)


def test_psnr_without_scaling(pair):
    truth, result = pair
    skimage = pytest.importorskip("skimage.metrics")
    extent = truth.max() - truth.min()
    expected = skimage.peak_signal_noise_ratio(truth, result, data_range=extent)
    assert metrics.psnr(truth, result, scale=False) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("window", "options"),
    [("gaussian", {"gaussian_weights": True, "sigma": 1.5}), ("uniform", {"win_size": 7})],
)
@pytest.mark.parametrize("shape", [(12, 20, 23), (31, 27)])
def test_ssim_is_that_of_scikit_image(rng, window, options, shape):
    skimage = pytest.importorskip("skimage.metrics")
    truth = rng.random(shape)
    result = truth + 0.1 * rng.standard_normal(shape)
    expected = skimage.structural_similarity(
        truth,
        result,
        data_range=truth.max() - truth.min(),
        use_sample_covariance=False,
        **options,
    )
    found = metrics.ssim(truth, result, scale=False, window=window)
    assert found == pytest.approx(expected, rel=1e-6)


def test_correlation_is_that_of_numpy(pair):
    truth, result = pair
    expected = np.corrcoef(truth.ravel(), result.ravel())[0, 1]
    assert metrics.correlation(truth, result) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("factor", [0.01, 1.0, 300.0])
def test_scale_does_not_matter(pair, factor):
    truth, result = pair
    for measure in (metrics.psnr, metrics.ssim, metrics.correlation):
        assert measure(truth, factor * result) == pytest.approx(measure(truth, result), rel=1e-9)


def test_perfect_results(pair):
    truth, _ = pair
    assert metrics.psnr(truth, truth, scale=False) == math.inf
    assert metrics.ssim(truth, truth) == pytest.approx(1)
    assert metrics.correlation(truth, 2 * truth + 7) == pytest.approx(1)


def test_torch_and_integer_arrays(pair):
    truth, result = pair
    counts = (100 * truth).astype(np.uint16)
    found = metrics.psnr(torch.from_numpy(truth).float(), counts)
    assert found == pytest.approx(metrics.psnr(truth, counts.astype(float)), rel=1e-5)
    assert metrics.ssim(torch.from_numpy(truth), torch.from_numpy(result)) < 1


@pytest.mark.parametrize("shape", [(1, 1, 5), (2, 9, 4), (1, 32, 32)])
def test_short_axes_get_a_shorter_window(rng, shape):
    truth = rng.random(shape)
    assert metrics.ssim(truth, truth) == pytest.approx(1)
    assert metrics.ssim(truth, rng.random(shape)) < 1


def test_a_constant_result_tells_nothing(pair):
    truth, _ = pair
    assert metrics.correlation(truth, np.ones_like(truth)) == 0
    assert math.isfinite(metrics.psnr(truth, np.zeros_like(truth)))


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ssim, metrics.correlation])
def test_rejects(measure):
    with pytest.raises(ValueError, match="result must have the shape of truth"):
        measure(np.ones((3, 4)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="truth must vary"):
        measure(np.ones((3, 4)), np.ones((3, 4)))


def test_rejects_an_unknown_window(pair):
    with pytest.raises(ValueError, match="window must be 'gaussian' or 'uniform', got 'hann'"):
        metrics.ssim(*pair, window="hann")
