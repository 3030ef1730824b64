# SPDX-License-Identifier: BSD-3-Clause
"""Resolution, cropping to energy, and blur by motion."""

import math

import numpy as np
import pytest
import torch

from otfuse import fft_convolve
from otfuse import psf as psfs

pytestmark = pytest.mark.usefixtures("one_thread")


def test_width_of_a_gaussian():
    sigma = (2.0, 3.0, 1.5)
    psf = psfs.gaussian((25, 31, 20), sigma, dtype=torch.float64)
    voxel = (0.3, 0.1, 0.2)
    expected = [2 * math.sqrt(2 * math.log(2)) * s * d for s, d in zip(sigma, voxel, strict=True)]
    assert psfs.resolution(psf, voxel).fwhm == pytest.approx(expected, rel=2e-3)
    assert psfs.resolution(psf.numpy().astype(np.float32)).fwhm[2] == pytest.approx(3.53, rel=3e-3)


def test_cutoff_of_a_gaussian():
    psf = psfs.gaussian((65, 65), (2.0, 4.0), dtype=torch.float64)
    # exp(-2 (pi s f)^2) = level
    expected = [math.sqrt(math.log(1e3) / 2) / (math.pi * s) for s in (2.0, 4.0)]
    assert psfs.resolution(psf).cutoff == pytest.approx(expected, abs=1 / 65)
    assert psfs.resolution(psf, level=0.1).cutoff[0] < expected[0] - 0.1


def test_a_psf_that_does_not_fall_has_no_width():
    ramp = torch.ones(5, 9) * psfs.gaussian((9,), 1.0)
    assert psfs.resolution(ramp).fwhm[0] == math.inf
    assert psfs.resolution(ramp).fwhm[1] < 3
    assert psfs.resolution(torch.ones(1, 9)).fwhm == (math.inf, math.inf)


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("shape", [(21, 41, 30), (40, 33)])
def test_crop_to_energy(energy, shape):
    psf = psfs.gaussian(shape, 2.5, dtype=torch.float64)
    small, lost = psfs.crop_to_energy(psf, energy)
    assert 0 < lost <= 1 - energy
    assert float(small.sum()) == pytest.approx(1)
    middle = tuple(n // 2 for n in small.shape)
    assert small.argmax() == np.ravel_multi_index(middle, small.shape)
    tighter = psfs.crop(psf, [max(1, n - 2) for n in small.shape])[1]
    assert tighter > 1 - energy - 0.2 * (1 - energy)


def test_crop_to_energy_of_some_axes():
    psf = psfs.gaussian((21, 41, 41), (9.0, 2.0, 2.0))
    small, lost = psfs.crop_to_energy(psf, 0.95, axes=(-2, -1))
    assert small.shape[0] == 21 and small.shape[1] < 15 and lost < 0.05
    assert psfs.crop_to_energy(psf, 1.0)[1] < 1e-9
    dark = torch.zeros(9, 9)
    dark[4, 4] = 1
    assert psfs.crop_to_energy(dark, 1.0)[0].shape == (1, 1)


def test_a_straight_drift_is_an_even_streak():
    psf = psfs.motion(torch.tensor([[0.0, -3.0], [0.0, 3.0]], dtype=torch.float64))
    assert psf.shape == (1, 7)
    expected = torch.tensor([[0.5, 1, 1, 1, 1, 1, 0.5]], dtype=torch.float64) / 6
    torch.testing.assert_close(psf, expected, atol=2e-3, rtol=0)


def test_time_is_what_counts():
    path = np.array([[0.0, 0.0], [0.0, 4.0], [0.0, 8.0]])
    psf = psfs.motion(path, times=[0.0, 3.0, 4.0], origin="start")
    assert isinstance(psf, np.ndarray) and psf.shape == (1, 17)
    assert psf.sum() == pytest.approx(1)
    assert psf[0, 8:12].sum() - psf[0, 8] / 2 > 2.5 * (psf[0, 13:17].sum() - psf[0, 16] / 2)
    assert psf[0, :8].sum() == 0
    waiting = psfs.motion(np.array([[1.0, 0.0], [1.0, 0.0]]), origin="none")
    assert waiting[2, 0] == pytest.approx(1) and waiting.shape == (3, 1)


def test_motion_in_micrometres_about_its_mean():
    path = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.2, 0.1], [0.6, 0.1, 0.7]])
    psf = psfs.motion(path, voxel=(0.3, 0.1, 0.1), shape=(5, 9, 12))
    assert psf.shape == (5, 9, 12) and psf.dtype == torch.float32
    for axis, n in enumerate(psf.shape):
        line = psf.sum([a for a in range(3) if a != axis])
        assert float((line * (torch.arange(n) - n // 2)).sum()) == pytest.approx(0, abs=1e-5)


def test_a_point_is_a_delta():
    assert psfs.motion(torch.zeros(1, 2)).tolist() == [[1.0]]


def test_motion_gradient():
    path = torch.tensor([[-1.2, 0.3], [0.4, 0.9], [1.1, -1.3]], dtype=torch.float64)
    times = torch.tensor([0.0, 0.7, 1.0], dtype=torch.float64, requires_grad=True)

    def blur(points, when):
        return psfs.motion(points, times=when, shape=(5, 6))

    assert torch.autograd.gradcheck(blur, (path.requires_grad_(), times))


@pytest.mark.parametrize("first", [(5, 6), (4, 7)])
@pytest.mark.parametrize("second", [(3, 4), (6, 3)])
def test_combine_is_one_blur_after_the_other(first, second, rng):
    one = torch.from_numpy(rng.random(first))
    other = torch.from_numpy(rng.random(second))
    image = torch.zeros(24, 25, dtype=torch.float64)
    image[11, 12] = 1
    both = psfs.combine(one, other)
    expected = fft_convolve(fft_convolve(image, one), other)
    torch.testing.assert_close(fft_convolve(image, both), expected, atol=1e-12, rtol=0)


def test_a_drift_is_undone():
    """Richardson-Lucy with the motion in its PSF restores what the optics alone cannot."""
    from otfuse import richardson_lucy

    optics = psfs.gaussian((9, 9), 1.0, dtype=torch.float64)
    drift = psfs.motion(torch.tensor([[0.0, -4.0], [2.0, 4.0]], dtype=torch.float64))
    both = psfs.combine(optics, drift)
    truth = torch.ones(48, 48, dtype=torch.float64)
    truth[::12, ::12] = 100
    image = fft_convolve(truth, both)
    options = {"boundary": "circular", "acceleration": "shb"}
    errors = [
        float((richardson_lucy(image, psf, 100, **options) - truth).norm())
        for psf in (optics, both)
    ]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: psfs.resolution(torch.zeros(3, 3)), "resolution: psf must hold some light"),
        (lambda: psfs.resolution(torch.ones(3, 3), (1.0,)), "voxel must be 2 positive lengths"),
        (lambda: psfs.resolution(torch.ones(3, 3), level=0.0), "level must be above 0"),
        (lambda: psfs.crop_to_energy(torch.ones(3, 3), 1.5), "energy must be above 0 and at most"),
        (lambda: psfs.crop_to_energy(torch.zeros(3, 3)), "crop_to_energy: psf must hold some"),
        (lambda: psfs.motion(torch.ones(3)), "motion: path must have at least 2 axes"),
        (lambda: psfs.motion(torch.ones(3, 4)), "path must be finite points"),
        (lambda: psfs.motion(torch.full((2, 2), math.nan)), "path must be finite points"),
        (lambda: psfs.motion(torch.ones(2, 2), voxel=(1.0,)), "voxel must be 2 positive lengths"),
        (lambda: psfs.motion(torch.ones(2, 2), origin="end"), "origin must be one of"),
        (lambda: psfs.motion(torch.ones(2, 2), times=[1.0, 0.0]), "times must be 2 moments"),
        (lambda: psfs.motion(torch.ones(2, 2), times=[1.0, 1.0]), "times must be 2 moments"),
        (
            lambda: psfs.motion(torch.tensor([[0.0, 9.0], [0.0, -9.0]]), shape=(3, 5)),
            "shape must hold the path, which goes 0, 8.94 voxels",
        ),
        (lambda: psfs.combine(torch.ones(3), torch.ones(3, 3)), "second must have as many axes"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
