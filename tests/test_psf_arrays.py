# SPDX-License-Identifier: BSD-3-Clause
"""Extents and sampling, and centring, resampling, cropping and slicing of PSFs."""

import math

import numpy as np
import pytest
import torch

from otfuse import psf as psfs
from otfuse.psf._bessel import bessel_j0, bessel_j1, bessel_j2

pytestmark = pytest.mark.usefixtures("one_thread")

OIL = {"na": 1.4, "wavelength": 0.52, "immersion_index": 1.515}
VOXEL = (0.2, 0.08, 0.08)


def blob(shape, centre, sigma=1.7):
    axes = [torch.arange(n, dtype=torch.float64) - c for n, c in zip(shape, centre, strict=True)]
    square = sum(a**2 for a in torch.meshgrid(*axes, indexing="ij"))
    return torch.exp(-0.5 * square / sigma**2)


def test_bessel_functions():
    special = pytest.importorskip("scipy.special")
    x = torch.cat([torch.linspace(0, 30, 5001), torch.linspace(30, 5000, 5001)]).double()
    j0, j1 = bessel_j0(x), bessel_j1(x)
    np.testing.assert_allclose(j0, special.j0(x.numpy()), atol=2e-15, rtol=0)
    np.testing.assert_allclose(j1, special.j1(x.numpy()), atol=2e-15, rtol=0)
    np.testing.assert_allclose(bessel_j2(x, j0, j1), special.jv(2, x.numpy()), atol=1e-14, rtol=0)


def test_default_shape_of_the_dapi_stack():
    optics = {"na": 1.45, "wavelength": 0.461, "immersion_index": 1.512}
    shape = psfs.default_shape((40, 201, 101), (0.3, 0.13, 0.13), modality="widefield", **optics)
    # The cone of 11.7 um depth is wider than the image: its longer side, and along x 2 n - 1.
    assert shape == (79, 201, 201)


def test_default_shape_is_the_cone():
    voxel, optics = (0.3, 0.1, 0.2), {"na": 0.9, "wavelength": 0.5, "immersion_index": 1.33}
    planes, rows, columns = psfs.default_shape((21, 999, 999), voxel, **optics)
    radius = 20 * 0.3 * 0.9 / math.sqrt(1.33**2 - 0.9**2)
    assert planes == 41
    assert rows == 2 * math.ceil(radius / 0.1) + 1
    assert columns == 2 * math.ceil(radius / 0.2) + 1


@pytest.mark.parametrize("modality", psfs.MODALITIES)
@pytest.mark.parametrize("image", [(1, 512, 512), (3, 4, 5), (200, 64, 900)])
def test_default_shapes_are_odd_and_bounded(modality, image):
    shape = psfs.default_shape(image, VOXEL, modality=modality, sheet_thickness=2.0, **OIL)
    assert all(k % 2 for k in shape)
    assert shape[0] <= 2 * image[0] - 1
    assert all(15 <= k <= max(15, 2 * n - 1) for k, n in zip(shape[1:], image[1:], strict=True))


def test_default_shape_at_the_limit_of_the_aperture():
    optics = {"na": 1.0, "wavelength": 0.5, "immersion_index": 1.0}
    assert psfs.default_shape((5, 30, 40), VOXEL, **optics) == (9, 41, 41)


@pytest.mark.parametrize(("aperture", "units"), [(0.5, 1.0), (0.8, 2.0)])
def test_confocal_extents_hold_the_light(aperture, units):
    optics = {"na": aperture, "wavelength": 0.525, "immersion_index": 1.0, "pinhole": units}
    optics["excitation_wavelength"] = 0.488
    voxel = (*(2 * d for d in psfs.nyquist(aperture, 0.488, 1.0, "confocal")),)
    voxel = (voxel[0], voxel[1], voxel[1])
    whole = psfs.confocal((99, 199, 199), voxel, **optics)
    shape = psfs.default_shape((50, 100, 100), voxel, modality="confocal", **optics)
    smaller = psfs.default_shape((50, 100, 100), voxel, modality="confocal", energy=0.9, **optics)
    assert psfs.crop(whole, shape)[1] < 0.02
    assert 0.04 < psfs.crop(whole, smaller)[1] < 0.1


def test_two_photon_extents_hold_the_light():
    optics = {"na": 0.8, "excitation_wavelength": 0.9, "immersion_index": 1.33}
    voxel = (0.5, 0.15, 0.15)
    shape = psfs.default_shape((60, 150, 150), voxel, modality="twophoton", **optics)
    assert shape[0] < 119 and shape[1] < 151
    whole = psfs.two_photon((119, 299, 299), voxel, **optics)
    assert psfs.crop(whole, shape)[1] < 0.02


def test_light_sheet_extent_follows_the_sheet():
    shape = psfs.default_shape(
        (200, 64, 64), (0.5, 0.1, 0.1), modality="light_sheet", sheet_thickness=4.0, **OIL
    )
    # 99 % of a Gaussian lies within 1.09 full widths at half maximum of its middle; the light of
    # far planes lies outside the image in part.
    assert shape[0] in (2 * 8 + 1, 2 * 9 + 1)


def test_nyquist():
    dz, dxy = psfs.nyquist(1.4, 0.52, 1.515, "widefield")
    assert dxy == pytest.approx(0.52 / 5.6)
    assert dz == pytest.approx(0.52 / (2 * 1.515 * (1 - math.cos(math.asin(1.4 / 1.515)))))
    assert psfs.nyquist(1.4, 0.52, 1.515, "confocal") == (dz / 2, dxy / 2)
    assert psfs.nyquist(1.4, 0.52, 1.515, "lightsheet") == (dz, dxy)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: psfs.nyquist(1.6, 0.5, 1.5, "widefield"), "nyquist: na must not exceed"),
        (lambda: psfs.nyquist(1.4, 0.5, 1.5, "sted"), "nyquist: modality must be one of"),
        (lambda: psfs.default_shape((4, 4), VOXEL, **OIL), "image_shape must be three positive"),
        (lambda: psfs.default_shape((4, 4, 4), (0, 1, 1), **OIL), "voxel must be three positive"),
        (lambda: psfs.default_shape((4, 4, 4), VOXEL, energy=1.0, **OIL), "energy must be above 0"),
        (lambda: psfs.default_shape((4, 4, 4), VOXEL, na=1.0), "wavelength must be given"),
        (lambda: psfs.center(torch.ones(3, 3), "mean"), "center: how must be"),
        (lambda: psfs.center(torch.zeros(3, 3)), "center: psf must hold some light"),
        (lambda: psfs.center(torch.ones(0, 3)), "center: psf must have at least 1 axes"),
        (lambda: psfs.crop(torch.ones(3, 3), (0, 3)), "crop: max_shape must hold positive"),
        (lambda: psfs.crop(torch.ones(3), (3, 3)), "crop: psf must have at least 2 axes"),
        (lambda: psfs.in_focus_slice(torch.ones(3, 3)), "psf must have at least 3 axes"),
        (lambda: psfs.resample(torch.ones(3, 3), (1, 1), (1, 0)), "voxel_to must hold positive"),
        (lambda: psfs.resample(torch.ones(3, 3), (1, 1), (1,)), "voxel_to must have as many"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_complex_psf_is_refused():
    with pytest.raises(TypeError, match="center: psf must be real"):
        psfs.center(torch.ones(3, 3, dtype=torch.complex64))


@pytest.mark.parametrize("how", ["peak", "centroid"])
@pytest.mark.parametrize(
    ("shape", "centre"),
    [
        ((17, 19, 21), (8.3, 9.0, 9.6)),
        ((16, 18, 20), (7.5, 8.5, 9.5)),
        ((20, 24), (8.2, 14.7)),
        ((1, 15, 15), (0.0, 7.4, 6.8)),
    ],
)
def test_center_moves_by_part_of_a_voxel(how, shape, centre):
    psf, shift = psfs.center(blob(shape, centre), how)
    middle = tuple(n // 2 for n in shape)
    assert shift == pytest.approx([m - c for m, c in zip(middle, centre, strict=True)], abs=2e-3)
    inner = tuple(
        slice(m - 3, m + 4) if n > 1 else slice(None) for m, n in zip(middle, shape, strict=True)
    )
    expected = blob(shape, middle)
    torch.testing.assert_close(psf[inner], expected[inner], atol=6e-3, rtol=0)


def test_center_keeps_a_centred_psf():
    psf = psfs.widefield((15, 31, 31), VOXEL, **OIL)
    for how in ("peak", "centroid", "none"):
        same, shift = psfs.center(psf, how)
        assert shift == pytest.approx((0, 0, 0), abs=1e-3)
        assert same is psf


def test_center_of_the_even_psf_of_psfgenerator(shared_stack):
    """The usual trap: an even PSF centred at (k - 1) / 2."""
    psf = shared_stack("flowdec_psfs_psfgen1.tif").astype(np.float32)
    for how in ("peak", "centroid"):
        moved, shift = psfs.center(psf, how)
        assert isinstance(moved, np.ndarray)
        assert moved.dtype == np.float32
        assert shift == pytest.approx((0.5, 0.5, 0.5), abs=0.01)
        assert np.unravel_index(moved.argmax(), moved.shape) == (4, 8, 8)
        assert moved.min() >= 0
        assert moved.sum() == pytest.approx(psf.sum(), rel=1e-5)


def test_center_moves_whole_voxels_without_wrapping():
    psf = torch.zeros(9, 9)
    psf[1, 6], psf[0, 8] = 1.0, 0.25
    moved, shift = psfs.center(psf)
    assert shift == (3.0, -2.0)
    assert float(moved.sum()) == 1.25  # of what stayed inside
    assert torch.nonzero(moved).tolist() == [[3, 6], [4, 4]]


def test_center_rings_little_where_a_psf_does_not_decay():
    """A widefield PSF of an even number of planes, moved by half a plane."""
    longer = psfs.widefield((49, 31, 31), (VOXEL[0] / 2, 0.08, 0.08), dtype=torch.float64, **OIL)
    even = longer[1:49:2]
    assert len(even) == 24
    moved, shift = psfs.center(even)
    assert shift == pytest.approx((0.5, 0, 0), abs=1e-6)
    expected = psfs.widefield((25, 31, 31), VOXEL, dtype=torch.float64, **OIL)[:24]
    difference = (moved / moved[12].sum() - expected / expected[12].sum()).abs()
    assert float(difference.max()) < 0.02 * float((expected / expected[12].sum()).max())


@pytest.mark.parametrize("shape", [(31, 61, 61), (30, 60, 61)])
def test_resample_agrees_with_the_model(shape):
    fine = psfs.widefield(shape, (0.1, 0.04, 0.04), dtype=torch.float64, **OIL)
    voxel = (0.15, 0.05, 0.08)
    psf = psfs.resample(fine, (0.1, 0.04, 0.04), voxel)
    exact = psfs.widefield(psf.shape, voxel, dtype=torch.float64, **OIL)
    assert psf.argmax() == exact.argmax()
    assert float(psf.sum()) == pytest.approx(1)
    middle = tuple(n // 2 for n in psf.shape)
    scaled = psf * (exact[middle] / psf[middle])
    torch.testing.assert_close(scaled, exact, atol=3e-3 * float(exact.max()), rtol=0)


def test_resample_to_finer_voxels():
    coarse = psfs.widefield((15, 41, 41), (0.15, 0.06, 0.06), dtype=torch.float64, **OIL)
    psf = psfs.resample(coarse, (0.15, 0.06, 0.06), (0.1, 0.025, 0.06))
    assert psf.shape == (21, 97, 41)
    exact = psfs.widefield(psf.shape, (0.1, 0.025, 0.06), dtype=torch.float64, **OIL)
    middle = tuple(n // 2 for n in psf.shape)
    scaled = psf * (exact[middle] / psf[middle])
    torch.testing.assert_close(scaled, exact, atol=0.01 * float(exact.max()), rtol=0)


def test_resample_of_the_same_voxel_is_the_same_psf():
    psf = torch.rand(2, 3, 5, 5)
    assert psfs.resample(psf, (0.3, 0.1, 0.1), (0.3, 0.1, 0.1)) is psf


def test_resample_leaves_leading_axes_and_gradients_alone():
    psf = 1 + torch.rand(2, 3, 4, 3, dtype=torch.float64)

    def finer(values):
        return psfs.resample(values, (1, 1, 1), (0.7, 0.5, 1))

    torch.testing.assert_close(finer(psf[1]), finer(psf)[1])
    assert torch.autograd.gradcheck(finer, psf.requires_grad_())


def test_crop_about_the_centre():
    psf = blob((9, 16, 11), (4, 8, 5)) / blob((9, 16, 11), (4, 8, 5)).sum()
    for limits in ((9, 7, 6), (5, 8, 99), (1, 1, 1)):
        small, lost = psfs.crop(psf, limits)
        assert small.shape == tuple(min(a, b) for a, b in zip(limits, psf.shape, strict=True))
        assert small.argmax() == np.ravel_multi_index([n // 2 for n in small.shape], small.shape)
        assert float(small.sum()) == pytest.approx(1)
        assert 0 < lost < 1
    assert psfs.crop(psf, (9, 16, 11)) == (psf, 0.0)
    kept = psf[3:6, 7:10, 4:7].sum()
    assert psfs.crop(psf, (3, 3, 3))[1] == pytest.approx(1 - float(kept))


def test_in_focus_slice():
    psf = psfs.widefield((11, 21, 21), VOXEL, **OIL)
    plane = psfs.in_focus_slice(psf)
    torch.testing.assert_close(plane, psf[5] / psf[5].sum())
    off = torch.stack([psf, psf.roll(3, 0)])
    torch.testing.assert_close(psfs.in_focus_slice(off), torch.stack([plane, plane]))
    assert isinstance(psfs.in_focus_slice(psf.numpy()), np.ndarray)


def test_integer_psfs_are_computed_in_float32():
    counts = (1000 * blob((8, 9), (3.5, 4.0))).numpy().astype(np.uint16)
    moved, shift = psfs.center(counts)
    assert moved.dtype == np.float32
    assert shift == pytest.approx((0.5, 0.0), abs=0.01)
