# SPDX-License-Identifier: BSD-3-Clause
"""Filters of scikit-image behind one interface; clear words when it is missing."""

import sys

import numpy as np
import pytest
import torch

from otfuse import classical

FILTERS = [classical.unsharp_mask, classical.clahe, classical.wavelet_denoise]


@pytest.fixture
def image(rng):
    return rng.poisson(20 + 30 * (np.indices((6, 32, 32)).sum(0) // 8 % 2)).astype(np.float32)


def call(name, image, **options):
    pytest.importorskip("skimage")
    if name == "wavelet_denoise":
        pytest.importorskip("pywt")
    return getattr(classical, name)(image, **options)


@pytest.mark.parametrize("name", [f.__name__ for f in FILTERS])
def test_kind_and_shape_are_kept(name, image):
    result = call(name, image)
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == (image.shape, np.float32)
    assert np.array_equal(call(name, torch.from_numpy(image)).numpy(), result)
    assert call(name, torch.from_numpy(image).double()).dtype == torch.float64


def test_unsharp_mask_is_its_formula(image):
    ndimage = pytest.importorskip("scipy.ndimage")
    blurred = ndimage.gaussian_filter(image.astype(float), 1.5, mode="reflect")
    expected = np.clip(image + 0.7 * (image - blurred), 0, None)
    assert np.allclose(call("unsharp_mask", image, radius=1.5, amount=0.7), expected, atol=1e-3)


def test_clahe_keeps_the_range(image):
    result = call("clahe", image)
    assert result.min() >= image.min() - 1e-3
    assert result.max() <= image.max() + 1e-3
    assert np.array_equal(call("clahe", 0 * image), 0 * image)


def test_wavelets_take_noise_away(rng):
    clean = np.full((8, 32, 32), 50.0)
    clean[:, 8:24, 8:24] = 100
    noisy = clean + rng.normal(0, 8, clean.shape)
    result = call("wavelet_denoise", noisy)
    assert np.square(result - clean).mean() < 0.4 * np.square(noisy - clean).mean()


@pytest.mark.parametrize(
    ("name", "module"), [("clahe", "skimage.exposure"), ("wavelet_denoise", "pywt")]
)
def test_says_what_to_install(name, module, image, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeError, match=rf"{name}: needs .*pip install \"otfuse\[classical\]"):
        getattr(classical, name)(image)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: classical.unsharp_mask(v, radius=0), "radius must be positive, got 0"),
        (lambda v: classical.unsharp_mask(v, amount=-1), "amount must be not negative, got -1"),
        (lambda v: classical.clahe(v, clip_limit=2), "clip_limit must lie in 0 to 1, got 2"),
        (lambda v: classical.wavelet_denoise(v, sigma=-1), "sigma must be positive"),
        (lambda v: classical.clahe(v * np.nan), "clahe: image must be finite"),
        (lambda v: classical.clahe(v[None]), "image must have 2 or 3 axes"),
    ],
)
def test_rejects(call, message, image):
    with pytest.raises(ValueError, match=message):
        call(image)
