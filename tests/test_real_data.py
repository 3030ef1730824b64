# SPDX-License-Identifier: BSD-3-Clause
"""Stacks of the field whose truth is known are restored, whatever the crop and the shift."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

import otfuse
from compare import assert_close
from otfuse.psf import widefield

Read = Callable[[str], np.ndarray]


def scaled(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the result in the truth's unit: data and truth of the bars differ in flux."""
    result = result.astype(np.float64)
    return result * (result * truth).sum() / (result * result).sum()


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in decibels after least-squares scaling."""
    error = np.square(scaled(result, truth) - truth).mean()
    return float(10 * np.log10(np.ptp(truth) ** 2 / error))


def ssim(result: np.ndarray, truth: np.ndarray) -> float:
    """Return the structural similarity after least-squares scaling."""
    return float(
        structural_similarity(scaled(result, truth), truth, data_range=float(np.ptp(truth)))
    )


def bars(read: Read) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth, data and PSF of the hollow bars; the PSF spans the image and does not decay."""
    names = ("actual", "data", "kernel")
    truth, data, psf = (read(f"flowdec_bars-25pct_{name}.tif") for name in names)
    return truth.astype(np.float64), data, psf


def pollen(read: Read) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth, data and PSF of the pollen grain, the PSF cut to where its light is."""
    truth = read("sdeconv_pollen.tif").astype(np.float64)
    data = read("sdeconv_pollen_poisson_noise_blurred.tif").clip(0)
    return truth, data, read("sdeconv_pollen_psf.tif")[:, 96:-96, 96:-96]


@pytest.mark.parametrize("acceleration", [None, "shb"], ids=["plain", "shb"])
@pytest.mark.parametrize("boundary", ["circular", "extended", "reflect"])
def test_bars_improve(boundary: str, acceleration: str | None, shared_stack: Read) -> None:
    truth, data, psf = bars(shared_stack)
    out = otfuse.richardson_lucy(data, psf, 20, boundary=boundary, acceleration=acceleration)
    assert psnr(out, truth) > psnr(data, truth) + 0.4
    assert ssim(out, truth) > ssim(data, truth)


@pytest.mark.parametrize("boundary", ["circular", "extended", "reflect"])
def test_pollen_improves(boundary: str, shared_stack: Read) -> None:
    truth, data, psf = pollen(shared_stack)
    out = otfuse.richardson_lucy(data, psf, 8, boundary=boundary, acceleration="shb")
    assert psnr(out, truth) > psnr(data, truth) + 0.4
    assert ssim(out, truth) > ssim(data, truth)


CROPS = [
    (slice(1, 30), slice(3, 60), slice(5, 64)),
    (slice(0, 31), slice(0, 63), slice(1, 46)),
]


@pytest.mark.parametrize("crop", CROPS, ids=["29x57x59", "31x63x45"])
def test_odd_crops_of_the_bars_improve(
    crop: tuple[slice, slice, slice], shared_stack: Read
) -> None:
    truth, data, psf = bars(shared_stack)
    out = otfuse.richardson_lucy(data[crop], psf, 20, acceleration="shb")
    assert psnr(out, truth[crop]) > psnr(data[crop], truth[crop]) + 0.4
    assert ssim(out, truth[crop]) > ssim(data[crop], truth[crop])


def test_odd_crop_of_the_pollen_improves(shared_stack: Read) -> None:
    truth, data, psf = pollen(shared_stack)
    crop = (slice(2, 31), slice(31, 228), slice(17, 216))
    out = otfuse.richardson_lucy(data[crop], psf, 8, acceleration="shb")
    assert psnr(out, truth[crop]) > psnr(data[crop], truth[crop]) + 0.4
    assert ssim(out, truth[crop]) > ssim(data[crop], truth[crop])


@pytest.mark.parametrize("specimen", [bars, pollen], ids=["bars", "pollen"])
def test_shifting_data_and_psf_alike_changes_nothing(
    specimen: Callable[[Read], tuple[np.ndarray, ...]], shared_stack: Read
) -> None:
    truth, data, psf = specimen(shared_stack)
    shift, axes = (3, -5, 2), (0, 1, 2)
    whole = np.zeros_like(data)
    begin = [n // 2 - k // 2 for n, k in zip(data.shape, psf.shape, strict=True)]
    whole[tuple(slice(b, b + k) for b, k in zip(begin, psf.shape, strict=True))] = psf
    # No momentum: where the pollen has no background it magnifies rounding from step to step.
    still = otfuse.richardson_lucy(data, whole, 10, boundary="circular")
    moved = otfuse.richardson_lucy(
        np.roll(data, shift, axes), np.roll(whole, shift, axes), 10, boundary="circular"
    )
    assert psnr(moved, truth) > psnr(data, truth)
    assert_close(moved, still, "shifted", factor=16)


def test_shifted_data_is_restored_in_its_place(shared_stack: Read) -> None:
    truth, data, psf = bars(shared_stack)
    # Zeros on one side move the centre of the PSF, and so the estimate, by half of them.
    one_sided = np.pad(psf, [(4, 0), (0, 6), (2, 0)])
    out = otfuse.richardson_lucy(data, one_sided, 20, acceleration="shb")
    moved = np.roll(truth, (-2, 3, -1), (0, 1, 2))
    inner = (slice(2, -2), slice(3, -3), slice(1, -1))
    assert psnr(out[inner], moved[inner]) > psnr(data[inner], moved[inner]) + 0.4
    assert psnr(out[inner], moved[inner]) > psnr(out[inner], truth[inner])


def test_a_real_stack_in_float32_is_that_in_float64(shared_stack: Read) -> None:
    stack = shared_stack("deconwolf_dapi_001.tif")
    psf = widefield(
        (79, 179, 179), (0.3, 0.13, 0.13), na=1.45, wavelength=0.461, immersion_index=1.512
    )
    options = {"n_iters": 20, "acceleration": "shb", "background": float(stack.min()) - 100}
    single = otfuse.richardson_lucy(stack, psf, **options)
    double = otfuse.richardson_lucy(stack.astype(np.float64), psf.double(), **options)
    assert single.dtype == np.float32
    assert np.abs(single - double).max() <= 1e-4 * double.max()
    assert float(torch.linalg.norm(torch.from_numpy(single - double))) <= 1e-4 * float(
        np.linalg.norm(double)
    )
