# SPDX-License-Identifier: BSD-3-Clause
"""Vectorial model, two photons, spinning disk and pixel integration against first principles."""

import math

import numpy as np
import pytest
import torch

from otfuse import psf as psfs
from otfuse.psf import _radial

OIL = {"na": 1.4, "wavelength": 0.52, "immersion_index": 1.515}
VOXEL = (0.2, 0.08, 0.08)
pytestmark = [
    pytest.mark.filterwarnings("ignore::otfuse.psf.SphericalAberrationWarning"),
    pytest.mark.usefixtures("one_thread"),
]


def vectorial_intensity(r, z, *, na, wavelength, immersion_index, sample_index=None, depth=0.0):
    """Richards and Wolf's integrals over the angle, by adaptive quadrature; glass of 1.515."""
    integrate = pytest.importorskip("scipy.integrate")
    special = pytest.importorskip("scipy.special")
    k, n = 2 * math.pi / wavelength, immersion_index
    layers = (n, 1.515, sample_index or n)
    kink = layers[2] / n
    points = [math.asin(kink)] if kink < na / n else None

    def cosines(angle):
        return [np.sqrt(complex(1 - (n * math.sin(angle) / m) ** 2)) for m in layers]

    def transmitted(c):
        s = p = 1.0
        for a in (0, 1):
            s *= 2 * layers[a] * c[a] / (layers[a] * c[a] + layers[a + 1] * c[a + 1])
            p *= 2 * layers[a] * c[a] / (layers[a + 1] * c[a] + layers[a] * c[a + 1])
        return s, p

    def strengths(angle):
        c = cosines(angle)
        s, p = transmitted(c)
        sine = n * math.sin(angle) / layers[2]
        decay = np.exp(-k * depth * layers[2] * c[2].imag)
        lens = math.sqrt(math.cos(angle)) * math.sin(angle) * decay
        return lens * np.array([s + p * c[2], math.sqrt(2) * p * sine, s - p * c[2]])

    def bend(angle):
        return depth * layers[2] * cosines(angle)[2].real

    def integral(function):
        limit = math.asin(na / n)
        return integrate.quad(
            function, 0, limit, limit=400, epsabs=1e-10, epsrel=1e-10, points=points
        )[0]

    shift = 0.0
    if sample_index is not None:

        def weight(angle):  # the light in an element of the pupil
            light = float((np.abs(strengths(angle)) ** 2).sum())
            return light / (math.sin(angle) * math.cos(angle)) if angle else 0.0

        def focus(angle):
            return n * math.cos(angle)

        total = integral(weight)
        mean_f = integral(lambda t: weight(t) * focus(t)) / total
        mean_b = integral(lambda t: weight(t) * bend(t)) / total
        cross = integral(lambda t: weight(t) * (focus(t) - mean_f) * (bend(t) - mean_b))
        shift = cross / integral(lambda t: weight(t) * (focus(t) - mean_f) ** 2)

    def wave(angle, order):
        phase = np.exp(1j * k * ((z - shift) * n * math.cos(angle) + bend(angle)))
        return strengths(angle)[order] * special.jv(order, k * n * r * math.sin(angle)) * phase

    return sum(
        integral(lambda t, m=m: wave(t, m).real) ** 2
        + integral(lambda t, m=m: wave(t, m).imag) ** 2
        for m in range(3)
    )


@pytest.mark.parametrize(
    "optics",
    [
        OIL,
        {"na": 1.2, "wavelength": 0.5, "immersion_index": 1.33},
        {"na": 1.0, "wavelength": 0.5, "immersion_index": 1.0},
        {**OIL, "sample_index": 1.45, "depth": 5.0},
        {**OIL, "sample_index": 1.33, "depth": 1.0},
    ],
    ids=["matched oil", "water under glass", "grazing rays", "aberrated", "total reflection"],
)
def test_vectorial_model_matches_an_independent_quadrature(optics):
    shape, voxel = (3, 1, 5), (0.4, 0.1, 0.17)
    psf = psfs.widefield(shape, voxel, vectorial=True, dtype=torch.float64, **optics)[:, 0]
    half = np.array(
        [
            [vectorial_intensity(x * voxel[2], z * voxel[0], **optics) for x in range(3)]
            for z in (-1, 0, 1)
        ]
    )
    expected = np.concatenate([half[:, :0:-1], half], axis=1)
    np.testing.assert_allclose(psf, expected / expected.sum(), atol=3e-8 * float(psf.max()))


def test_vectorial_and_scalar_agree_at_low_aperture():
    optics = {"na": 0.1, "wavelength": 0.5, "immersion_index": 1.0, "coverslip_index": 1.0}
    scalar, vectorial = (
        psfs.widefield((5, 21, 21), (10.0, 0.7, 0.7), vectorial=v, dtype=torch.float64, **optics)
        for v in (False, True)
    )
    torch.testing.assert_close(vectorial, scalar, atol=3e-3 * float(scalar.max()), rtol=0)


def test_polarisation_widens_the_focus():
    voxel = (0.2, 0.01, 0.01)
    widths = [
        psfs.resolution(psfs.widefield((1, 101, 101), voxel, vectorial=v, **OIL)[0], voxel[1:])
        for v in (False, True)
    ]
    # 0.51 wavelength / na by the paraxial formula; the known widening at na 1.4 in oil is 10 %.
    assert widths[0].fwhm[0] == pytest.approx(0.51 * 0.52 / 1.4, rel=0.02)
    assert 1.06 < widths[1].fwhm[0] / widths[0].fwhm[0] < 1.16


@pytest.mark.parametrize("vectorial", [False, True])
@pytest.mark.parametrize("sample_index", [None, 1.38])
def test_every_plane_holds_as_much_light(vectorial, sample_index):
    """Parseval's theorem, with which the spinning disk counts its crosstalk."""
    from otfuse.psf import _diffraction, _optics, _radial

    layers = _optics.Aberration(sample_index, 0.0 if sample_index is None else 2.0)
    lens = _optics.lens("test", 1.4, 0.52, 1.515, layers, vectorial)
    z = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    profile = _diffraction.radial_intensity(lens, 600.0, z)
    v = _radial.radial_grid(600.0, z.device)[:, None]
    within = 0.2 * (v * profile).sum(0)
    # The Airy tail beyond v holds 2 / (pi v) of the light, and more where the rim is bright.
    share = within / _diffraction.plane_light(lens)
    assert float(share.min()) > 0.985 and float(share.max()) < 0.9995
    assert float(share.max() - share.min()) < 4e-3


def test_abbe_limit_of_the_otf():
    voxel = (0.1, 0.06, 0.06)
    psf = psfs.widefield((95, 191, 191), voxel, na=0.9, wavelength=0.5, immersion_index=1.0)
    cutoff = psfs.resolution(psf, voxel).cutoff
    assert cutoff[1] == cutoff[2] == pytest.approx(2 * 0.9 / 0.5, rel=0.03)
    # The height of the wings: n (1 - cos a) / wavelength.
    assert cutoff[0] == pytest.approx((1 - math.sqrt(1 - 0.81)) / 0.5, rel=0.15)


def test_rayleigh_limit_of_two_points():
    na, light = 0.3, 0.5
    rayleigh = 0.61 * light / na
    dx = rayleigh / 40
    line = psfs.widefield(
        (1, 1, 201), (1.0, dx, dx), na=na, wavelength=light, immersion_index=1.0,
        dtype=torch.float64,
    ).flatten()  # fmt: skip
    assert int(line[100:160].argmin()) == 40  # the first dark ring
    two = line[:-40] + line[40:]  # both points on a line, midway at their middle
    dip = float(two[80] / two[100])
    assert 0.72 < dip < 0.75 or 0.72 < 1 / dip < 0.75  # 73.5 % between two Airy discs


def test_two_photons_square_the_focus():
    optics = {"na": 1.0, "immersion_index": 1.33}
    once = psfs.widefield((7, 15, 16), VOXEL, wavelength=0.9, dtype=torch.float64, **optics)
    psf = psfs.two_photon(
        (7, 15, 16), VOXEL, excitation_wavelength=0.9, dtype=torch.float64, **optics
    )
    torch.testing.assert_close(psf, once**2 / (once**2).sum())


def disk(shape, voxel, **options):
    return psfs.spinning_disk(
        shape, voxel, excitation_wavelength=0.488, dtype=torch.float64, **OIL, **options
    )


def test_spinning_disk_without_crosstalk_and_tiny_holes_is_a_product():
    detected = psfs.widefield((5, 9, 9), VOXEL, dtype=torch.float64, **OIL)
    excited = psfs.widefield((5, 9, 9), VOXEL, dtype=torch.float64, **{**OIL, "wavelength": 0.488})
    product = detected * excited
    psf = disk((5, 9, 9), VOXEL, pinhole=1e-3, pinhole_spacing=math.inf)
    torch.testing.assert_close(psf, product / product.sum(), atol=1e-7, rtol=1e-5)


def test_crosstalk_is_an_even_share_of_the_widefield_haze():
    voxel, pinhole, spacing = (2.5, 0.3, 0.3), 1.0, 3.0
    psf = disk((9, 5, 5), voxel, pinhole=pinhole, pinhole_spacing=spacing)
    wide = psfs.widefield((9, 5, 5), voxel, dtype=torch.float64, **OIL)
    lit = psf / wide
    # 10 um from focus every pinhole lights every point, as strongly anywhere.
    assert float(lit[0].max() / lit[0].min()) < 1.05
    assert float(lit[0].mean() / lit[1].mean()) == pytest.approx(1, abs=0.05)
    alone = disk((9, 5, 5), voxel, pinhole=pinhole, pinhole_spacing=math.inf) / wide
    assert float(alone[0].mean() / alone[1].mean()) < 0.7
    # In focus the light of one pinhole, held by a disc of its own size, over its share of the disk.
    fill = math.pi / (4 * math.sqrt(0.75) * spacing**2)
    assert 0.5 * fill < float(lit[0].mean() / lit[4, 2, 2]) < 2 * fill


def test_crosstalk_meets_the_sum_over_a_hexagonal_lattice():
    """The even density that stands for the neighbours, against each of them, at every angle."""
    from otfuse.psf import _optics, _render, scanning

    spacing, laser = 5.0, 0.488
    lens = _optics.lens("test", 1.4, 0.52, 1.515, _optics.Aberration())
    near, far = (_render.Canvas((9, 1, n), (0.5, 0.1, 0.1), False) for n in (21, 301))
    lit = scanning.disk_factors(near, lens, laser, 1.0, spacing)[1]
    own = scanning.disk_factors(far, lens, laser, 1.0, math.inf)[1]
    step = spacing * psfs.airy_unit(1.4, 0.52)
    i, j = torch.meshgrid(*[torch.arange(-14, 15, dtype=torch.float64)] * 2, indexing="ij")
    y, x = (step * math.sqrt(0.75) * j).flatten(), (step * (i + j / 2)).flatten()
    angle, distance = torch.atan2(y, x), torch.hypot(y, x)
    angle, distance = (part[distance < 12] for part in (angle, distance))
    turns = angle + torch.arange(12, dtype=torch.float64)[:, None] * (math.pi / 36)
    for radius in (0.0, 0.25, 0.5):
        places = torch.hypot(distance * turns.cos() - radius, distance * turns.sin())
        lattice = own.at(places.flatten()).sum(0) / len(turns)
        (density,) = lit.at(torch.tensor([radius], dtype=torch.float64))
        # Heights of 0, 0.5, 1 and 2 um; measured: 3 % of the light in focus, then less.
        difference = (density - lattice)[[0, 1, 2, 4]].abs() / float(lit.profile[0, 0])
        assert float(difference.max()) < 0.03
    # Far from focus, where the neighbours are all there is, it is the lattice's own sum.
    assert float(density[4] / lattice[4]) == pytest.approx(1, abs=0.08)


def test_neighbours_far_apart_do_not_matter_in_focus():
    near, far, alone = (disk((1, 9, 9), VOXEL, pinhole_spacing=s) for s in (2.0, 8.0, math.inf))
    assert float((far - alone).abs().max()) < 0.01 * float(alone.max())
    assert float((near - alone).abs().max()) > 2 * float((far - alone).abs().max())


@pytest.mark.parametrize("make", ["widefield", "confocal"])
def test_pixel_integration_is_the_mean_over_the_pixel(make):
    extra = {} if make == "widefield" else {"excitation_wavelength": 0.488}
    model = getattr(psfs, make)
    options = {**OIL, **extra, "dtype": torch.float64}
    shape, finer = (2, 5, 4), 25
    psf = model(shape, (0.4, 0.15, 0.2), pixel_integrated=True, **options)
    fine = model((2, 5 * finer, 5 * finer), (0.4, 0.15 / finer, 0.2 / finer), **options)
    # Each of the small squares is taken at its middle: 4e-4 of the peak.
    means = fine.reshape(2, 5, finer, 5, finer).mean((2, 4))[:, :, :4]
    torch.testing.assert_close(psf, means / means.sum(), atol=6e-4 * float(psf.max()), rtol=0)


def numbers(*values):
    return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]


@pytest.mark.parametrize("depth", [3.0, 0.5])
def test_gradients_of_the_vectorial_model(depth):
    names = (
        "na", "wavelength", "immersion_index", "sample_index", "depth", "coverslip",
        "coverslip_design", "coverslip_index",
    )  # fmt: skip

    def model(*values):
        optics = dict(zip(names, values, strict=True))
        return psfs.widefield((3, 2, 3), VOXEL, vectorial=True, dtype=torch.float64, **optics)

    inputs = numbers(1.3, 0.52, 1.515, 1.36 if depth > 1 else 1.25, depth, 172.0, 170.0, 1.52)
    assert torch.autograd.gradcheck(model, inputs, atol=1e-6)


def test_gradients_of_the_scanning_models():
    def two(na, light):
        return psfs.two_photon(
            (3, 3, 3), VOXEL, na=na, excitation_wavelength=light, dtype=torch.float64
        )

    def scanned(pinhole, light, index):
        return psfs.confocal(
            (2, 3, 3), VOXEL, **OIL, excitation_wavelength=light, pinhole=pinhole,
            sample_index=index, depth=10.0, pixel_integrated=True, dtype=torch.float64,
        )  # fmt: skip

    def spun(pinhole, spacing, light):
        return psfs.spinning_disk(
            (2, 2, 3), VOXEL, **OIL, excitation_wavelength=light, pinhole=pinhole,
            pinhole_spacing=spacing, dtype=torch.float64,
        )  # fmt: skip

    assert torch.autograd.gradcheck(two, numbers(1.0, 0.9))
    assert torch.autograd.gradcheck(scanned, numbers(0.8, 0.488, 1.44), atol=1e-6)
    assert torch.autograd.gradcheck(spun, numbers(1.1, 2.0, 0.488))


def test_gradients_after_inference():
    """What is kept of one call is no tensor of inference mode, which no gradient goes through."""
    _radial.gauss_legendre.cache_clear()
    (na,) = numbers(1.4)
    for mode, aperture in ((True, 1.4), (False, na)):
        with torch.inference_mode(mode):
            psf = psfs.confocal(
                (2, 3, 3), VOXEL, na=aperture, wavelength=0.52, excitation_wavelength=0.488
            )
    psf.max().backward()
    assert na.grad != 0


def test_a_sample_index_is_found_by_its_gradient():
    """What parametric blind deconvolution does, without an image: the slope leads to the truth."""

    def model(index):
        return psfs.widefield(
            (17, 9, 9), VOXEL, sample_index=index, depth=10.0, dtype=torch.float64, **OIL
        )

    truth = model(1.42)

    def slope(index):
        (n,) = numbers(index)
        return float(torch.autograd.grad((model(n) - truth).square().sum(), n)[0])

    older, newer = 1.432, 1.430
    bend = slope(older)
    for _ in range(8):  # secants of the slope
        now = slope(newer)
        older, newer, bend = newer, newer - now * (newer - older) / (now - bend), now
        if abs(newer - older) < 1e-6:
            break
    assert newer == pytest.approx(1.42, abs=1e-4)
