# SPDX-License-Identifier: BSD-3-Clause
"""PSF models against first principles, and what is done to PSFs that are arrays."""

import math

import numpy as np
import pytest
import torch

from otfuse import psf as psfs

pytestmark = pytest.mark.usefixtures("one_thread")

OIL = {"na": 1.4, "wavelength": 0.52, "immersion_index": 1.515}
VOXEL = (0.2, 0.08, 0.08)
MODELS = {
    "widefield": (psfs.widefield, {}),
    "confocal": (psfs.confocal, {"excitation_wavelength": 0.488, "pinhole": 0.9}),
    "spinning_disk": (psfs.spinning_disk, {"excitation_wavelength": 0.488, "pinhole": 1.1}),
    "light_sheet": (psfs.light_sheet, {"sheet_thickness": 1.2, "immersion_index": 1.515}),
}
SHAPES = [(7, 15, 15), (8, 16, 12), (1, 9, 9), (5, 1, 7), (2, 2, 2), (1, 1, 1)]


def radii(shape, voxel):
    """Distance of each pixel of a plane from the axis at k // 2."""
    y, x = (
        (torch.arange(n, dtype=torch.float64) - n // 2) * d
        for n, d in zip(shape[1:], voxel[1:], strict=True)
    )
    return torch.hypot(y[:, None], x)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_contract_of_every_model(model, shape):
    make, extra = MODELS[model]
    psf = make(shape, VOXEL, **{**OIL, **extra})
    assert psf.shape == shape
    assert psf.dtype == torch.float32
    assert psf.min() >= 0
    assert float(psf.double().sum()) == pytest.approx(1, abs=1e-5)
    assert psf.argmax() == np.ravel_multi_index([k // 2 for k in shape], shape)


def test_low_aperture_focus_is_an_airy_pattern():
    special = pytest.importorskip("scipy.special")
    shape, voxel = (1, 61, 80), (1.0, 0.25, 0.3)
    psf = psfs.widefield(
        shape, voxel, na=0.1, wavelength=0.5, immersion_index=1.0, dtype=torch.float64
    )[0]
    v = (2 * math.pi / 0.5 * 0.1 * radii(shape, voxel)).numpy()
    v[v == 0] = 1e-9
    airy = (2 * special.j1(v) / v) ** 2
    np.testing.assert_allclose(psf / psf.max(), airy, rtol=0, atol=1e-8)


def test_low_aperture_axis_is_a_squared_sinc():
    na, light, dz = 0.1, 0.5, 4.0
    psf = psfs.widefield(
        (81, 1, 1), (dz, 0.1, 0.1), na=na, wavelength=light, immersion_index=1.0,
        dtype=torch.float64,
    ).flatten()  # fmt: skip
    z = (torch.arange(81, dtype=torch.float64) - 40) * dz
    # Amplitude over the pupil: a phase of z k NA^2 / 2 from centre to rim, to first order in NA^2.
    sinc = torch.sinc(z * na**2 / (2 * light)) ** 2
    torch.testing.assert_close(psf / psf.max(), sinc, atol=3e-3, rtol=0)


QUADRATURE = {
    "high aperture": {"na": 1.45, "wavelength": 0.461, "immersion_index": 1.512},
    "aperture equal to the index": {"na": 1.0, "wavelength": 0.5, "immersion_index": 1.0},
    "water below oil": {
        "na": 1.2, "wavelength": 0.52, "immersion_index": 1.515, "sample_index": 1.33, "depth": 10.0
    },
    "total reflection": {
        "na": 1.45, "wavelength": 0.52, "immersion_index": 1.515, "sample_index": 1.38, "depth": 5.0
    },
    "thick coverslip": {
        "na": 0.9, "wavelength": 0.5, "immersion_index": 1.0, "coverslip": 180.0
    },
}  # fmt: skip


def reference_intensity(r, z, *, na, wavelength, immersion_index, **layers):
    """The Gibson-Lanni integral, by adaptive quadrature, best focus by the same."""
    integrate = pytest.importorskip("scipy.integrate")
    special = pytest.importorskip("scipy.special")
    k, ns = 2 * math.pi / wavelength, layers.get("sample_index")

    def integral(function):
        kink = [ns / na] if ns is not None and ns < na else None
        return integrate.quad(function, 0, 1, limit=2000, epsabs=1e-11, epsrel=1e-11, points=kink)[
            0
        ]

    def focus(p):
        return math.sqrt(immersion_index**2 - (na * p) ** 2) - immersion_index

    def bend(p):
        path = 0j
        if ns is not None:
            path += layers["depth"] * np.sqrt(complex(ns**2 - (na * p) ** 2))
        if "coverslip" in layers:
            path += (layers["coverslip"] - 170.0) * math.sqrt(1.515**2 - (na * p) ** 2)
        return complex(path)

    def weight(p):
        return p * math.exp(-2 * k * bend(p).imag)

    total = integral(weight)
    mean_focus = integral(lambda p: weight(p) * focus(p)) / total
    mean_bend = integral(lambda p: weight(p) * bend(p).real) / total
    shift = integral(
        lambda p: weight(p) * (focus(p) - mean_focus) * (bend(p).real - mean_bend)
    ) / integral(lambda p: weight(p) * (focus(p) - mean_focus) ** 2)

    def wave(p, part):
        path = bend(p)
        phase = k * ((z - shift) * focus(p) + path.real)
        decay = math.exp(-k * path.imag)
        return 2 * p * special.j0(k * na * r * p) * decay * part(phase)

    return sum(integral(lambda p, f=f: wave(p, f)) ** 2 for f in (math.cos, math.sin))


@pytest.mark.parametrize("case", QUADRATURE)
@pytest.mark.filterwarnings("ignore:widefield. na:UserWarning")
def test_matches_an_independent_quadrature(case):
    optics = QUADRATURE[case]
    shape, voxel = (5, 1, 9), (1.1, 0.1, 0.31)
    psf = psfs.widefield(shape, voxel, dtype=torch.float64, **optics)[:, 0]
    expected = np.array(
        [
            [reference_intensity(abs(x) * voxel[2], z * voxel[0], **optics) for x in range(-4, 5)]
            for z in range(-2, 3)
        ]
    )
    # Interpolation on the radial grid: measured 6e-9 of the peak, 2e-8 of what is near.
    np.testing.assert_allclose(psf, expected / expected.sum(), atol=2e-8 * float(psf.max()))


def test_float32_is_the_rounding_of_float64():
    for make, extra in MODELS.values():
        single = make((9, 33, 33), VOXEL, **{**OIL, **extra})
        double = make((9, 33, 33), VOXEL, **{**OIL, **extra}, dtype=torch.float64)
        assert torch.equal(single, double.float())


def test_every_widefield_plane_holds_as_much_light():
    voxel = (0.2, 0.1, 0.1)
    psf = psfs.widefield((31, 401, 401), voxel, na=0.9, wavelength=0.5, immersion_index=1.33)
    flux = psf.double().sum((1, 2))
    # What is missing lies outside the 40 um field: Airy tails fall off as 1 / r.
    assert float(flux.max() / flux.min()) < 1.01


def test_matched_sample_changes_nothing():
    plain = psfs.widefield((9, 15, 15), VOXEL, **OIL)
    deep = psfs.widefield((9, 15, 15), VOXEL, sample_index=1.515, depth=20.0, **OIL)
    surface = psfs.widefield((9, 15, 15), VOXEL, sample_index=1.45, depth=0.0, **OIL)
    designed = psfs.widefield((9, 15, 15), VOXEL, coverslip=170.0, **OIL)
    assert torch.equal(plain, deep)
    assert torch.equal(plain, surface)
    assert torch.equal(plain, designed)


def test_a_hair_of_mismatch_is_a_hair_of_change():
    """The general path meets the symmetric one."""
    plain = psfs.widefield((8, 15, 15), VOXEL, dtype=torch.float64, **OIL)
    near = psfs.widefield(
        (8, 15, 15), VOXEL, dtype=torch.float64, sample_index=1.515 - 1e-7, depth=5.0, **OIL
    )
    torch.testing.assert_close(near, plain, atol=1e-6 * float(plain.max()), rtol=0)


def test_spherical_aberration_breaks_the_symmetry_about_focus():
    psf = psfs.widefield((41, 31, 31), VOXEL, sample_index=1.42, depth=10.0, **OIL)
    plain = psfs.widefield((41, 31, 31), VOXEL, **OIL)
    assert float((plain - plain.flip(0)).abs().max()) < 1e-7
    assert float((psf - psf.flip(0)).abs().max()) > 0.1 * float(psf.max())
    assert float(psf.max()) < 0.8 * float(plain.max())
    # The bright spot stays near the middle: the focal shift of some micrometres is taken out.
    assert abs(int(psf.amax((1, 2)).argmax()) - 20) <= 4


def test_widefield_otf_has_a_missing_cone():
    shape, voxel = (63, 127, 127), (0.15, 0.08, 0.08)
    psf = psfs.widefield(shape, voxel, dtype=torch.float64, **OIL)
    window = torch.hann_window(63, periodic=False, dtype=torch.float64)[:, None, None]
    otf = torch.fft.fftn(torch.fft.ifftshift(psf * window / (psf * window).sum())).abs()
    assert float(otf[10, 0, 0]) < 1e-3  # on the axis
    assert float(otf[4, 0, 24]) > 1e-2  # inside the support
    beyond = torch.fft.fftfreq(127, 0.08).abs() > 2 * 1.4 / 0.52 * 1.1
    assert float(otf[0, 0, beyond].max()) < 1e-3


def test_confocal_with_a_point_pinhole_is_a_product():
    detected = psfs.widefield((7, 15, 15), VOXEL, dtype=torch.float64, **OIL)
    excited = psfs.widefield(
        (7, 15, 15), VOXEL, dtype=torch.float64, **{**OIL, "wavelength": 0.488}
    )
    product = detected * excited
    for pinhole in (0.0, 1e-4):
        psf = psfs.confocal(
            (7, 15, 15), VOXEL, excitation_wavelength=0.488, pinhole=pinhole, dtype=torch.float64,
            **OIL,
        )  # fmt: skip
        torch.testing.assert_close(psf, product / product.sum(), atol=1e-7, rtol=1e-5)


def test_pinhole_is_a_disc():
    """The detection PSF, averaged over the disc by brute force on a fine grid."""
    step, pinhole = 0.01, 0.5
    fine = psfs.widefield((3, 121, 121), (0.4, step, step), dtype=torch.float64, **OIL)
    inside = (radii((1, 51, 51), (1, step, step)) <= pinhole / 2).double()
    mean = torch.nn.functional.conv2d(fine[:, None], inside[None, None])[:, 0] / inside.sum()
    excited = psfs.widefield(
        (3, 7, 7), (0.4, 0.1, 0.1), dtype=torch.float64, **{**OIL, "wavelength": 0.488}
    )
    expected = mean[:, 5:66:10, 5:66:10] * excited
    psf = psfs.confocal(
        (3, 7, 7), (0.4, 0.1, 0.1), excitation_wavelength=0.488,
        pinhole=pinhole / psfs.airy_unit(OIL["na"], OIL["wavelength"]), dtype=torch.float64, **OIL,
    )  # fmt: skip
    # The disc on the grid is ragged: about 0.5 %.
    torch.testing.assert_close(psf, expected / expected.sum(), atol=0.01 * float(psf.max()), rtol=0)


def test_an_open_pinhole_sections_less():
    def far_light(pinhole):
        psf = psfs.confocal(
            (41, 81, 81), VOXEL, excitation_wavelength=0.488, pinhole=pinhole, **OIL
        )
        flux = psf.sum((1, 2))
        return float(flux[0] / flux[20])

    assert far_light(0.3) < 0.3 * far_light(1.5)
    default = psfs.confocal((5, 9, 9), VOXEL, excitation_wavelength=0.488, **OIL)
    same = psfs.confocal((5, 9, 9), VOXEL, excitation_wavelength=0.488, pinhole=1.0, **OIL)
    torch.testing.assert_close(default, same)


def test_light_sheet_is_widefield_times_a_gaussian():
    options = {**OIL, "dtype": torch.float64}
    wide = psfs.widefield((11, 9, 9), VOXEL, **options)
    sheet = psfs.light_sheet((11, 9, 9), VOXEL, sheet_thickness=0.8, **options)
    ratio = (sheet / wide)[:, 4, 4]
    # 0.4 um from the middle, two planes, is half the thickness: half the light.
    assert float(ratio[7] / ratio[5]) == pytest.approx(0.5, rel=1e-9)
    assert float(ratio[3] / ratio[5]) == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize("sigma", [1.3, (2.0, 1.0, 0.0)])
def test_gaussian(sigma):
    psf = psfs.gaussian((7, 8, 5), sigma)
    assert psf.argmax() == np.ravel_multi_index((3, 4, 2), (7, 8, 5))
    assert float(psf.sum()) == pytest.approx(1)
    first = sigma if isinstance(sigma, float) else sigma[0]
    assert float(psf[4, 4, 2] / psf[3, 4, 2]) == pytest.approx(math.exp(-0.5 / first**2), rel=1e-5)


@pytest.mark.filterwarnings("ignore:widefield. na:UserWarning")
def test_gradients_in_the_optics():
    names = ("na", "wavelength", "immersion_index", "sample_index", "depth", "coverslip")

    def model(*values):
        return psfs.widefield(
            (3, 3, 4), VOXEL, dtype=torch.float64, **dict(zip(names, values, strict=True))
        )

    for values in ((1.2, 0.52, 1.515, 1.33, 3.0, 172.0), (1.4, 0.52, 1.515, 1.35, 0.5, 170.0)):
        inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
        assert torch.autograd.gradcheck(model, inputs, atol=1e-6)


def test_gradients_in_pinhole_and_sheet():
    def scanned(pinhole, light):
        return psfs.confocal(
            (2, 3, 3),
            VOXEL,
            excitation_wavelength=light,
            pinhole=pinhole,
            dtype=torch.float64,
            **OIL,
        )

    def lit(thickness):
        return psfs.light_sheet(
            (3, 3, 3), VOXEL, sheet_thickness=thickness, dtype=torch.float64, **OIL
        )

    def number(value):
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(scanned, [number(0.4), number(0.488)])
    assert torch.autograd.gradcheck(lit, [number(1.2)])
