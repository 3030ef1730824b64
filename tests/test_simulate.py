# SPDX-License-Identifier: BSD-3-Clause
"""Synthetic specimens and cameras: seeded, inside the volume, with the statistics they promise."""

import pytest
import torch

from otfuse import simulate
from otfuse.psf import gaussian

pytestmark = pytest.mark.usefixtures("one_thread")

DRAWN = [
    simulate.beads,
    simulate.dots,
    simulate.ellipsoids,
    simulate.filaments,
    simulate.nuclei,
    simulate.rods,
    simulate.shells,
]
SHAPES = [(16, 40, 48), (1, 32, 32), (5, 1, 9), (3, 3, 3)]


@pytest.mark.parametrize("draw", DRAWN, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_draws_something_everywhere(draw, shape):
    volume = draw(shape, seed=1)
    assert volume.shape == shape
    assert volume.dtype == torch.float32
    assert volume.min() >= 0
    assert volume.max() > 0
    assert torch.isfinite(volume).all()


@pytest.mark.parametrize("draw", DRAWN, ids=lambda f: f.__name__)
def test_seed_decides(draw):
    shape = (12, 40, 40)
    assert torch.equal(draw(shape, seed=3), draw(shape, seed=3))
    assert not torch.equal(draw(shape, seed=3), draw(shape, seed=4))


def test_any_number_is_a_seed():
    """Volumes of a set are seeded by multiples of its seed, which a date makes large."""
    volumes = [simulate.phantoms(1, (8, 9, 10), seed=seed) for seed in (20261122, -3, 2**64)]
    assert all(volume.max() == 1 for volume in volumes)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    simulate.blur_and_noise(simulate.specimen((8, 20, 20), 1), gaussian((3, 3, 3), 1.0), 50.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_specimen_is_scaled_to_one():
    volume = simulate.specimen((16, 64, 64), 7, voxel=(0.2, 0.1, 0.1))
    assert volume.max() == 1
    filled = float((volume > 0.05).float().mean())
    assert 0.01 < filled < 0.5


# A texture's brightest voxel, which nuclei are scaled to, depends on how it is sampled.
@pytest.mark.parametrize(
    "draw", [f for f in DRAWN if f is not simulate.nuclei], ids=lambda f: f.__name__
)
def test_sizes_are_in_the_unit_of_the_voxel(draw):
    """The same field in voxels twice as tall holds as much, in half as many planes."""
    fine = draw((32, 48, 48), seed=2, voxel=(1.0, 1.0, 1.0))
    flat = draw((16, 48, 48), seed=2, voxel=(2.0, 1.0, 1.0))
    assert float(flat.sum() * 2 / fine.sum()) == pytest.approx(1, rel=0.15)


def test_a_filament_is_as_thick_and_bright_as_asked():
    volume = simulate.filaments((40, 40, 120), seed=1, count=1, thickness=4.0, persistence=1e6)
    # Across a straight fibre: its brightness b over a Gaussian of sigma, b 2 pi sigma^2 in all.
    peak = float(volume.max())
    sigma = 4.0 / 2.3548
    length = float(volume.sum()) / (peak * 2 * torch.pi * sigma**2)
    assert 0.35 <= peak <= 2.1
    assert 60 < length < 400


def test_a_shell_is_hollow_and_a_bead_is_solid():
    shell = simulate.shells((31, 31, 31), seed=1, count=1, radius=(10.0, 10.0), wall=2.0)
    bead = simulate.beads((31, 31, 31), seed=1, count=1, radius=(6.0, 6.0))
    middle = tuple(int(i) for i in torch.nonzero(bead == bead.max()).float().mean(0).round())
    assert bead[middle] == bead.max()
    brightness = float(shell.max())
    area = 4 * torch.pi * 10**2 * 2.0
    assert float(shell.sum()) / brightness == pytest.approx(area, rel=0.1)
    volume = 4 / 3 * torch.pi * 6**3
    assert float(bead.sum() / bead.max()) == pytest.approx(volume, rel=0.1)


def test_an_ellipsoid_is_as_large_as_asked_however_it_is_turned():
    for seed in range(4):
        body = simulate.ellipsoids((33, 33, 33), seed=seed, count=1, radius=(5.0, 9.0))
        solid = body / body.max()
        place = torch.nonzero(solid > 0.5).float()
        spread = torch.linalg.eigvalsh(torch.cov(place.T))
        half_axes = (5 * spread).sqrt()  # a solid ellipsoid's variance is r^2 / 5 along each axis
        assert float(solid.sum()) == pytest.approx(4.189 * float(half_axes.prod()), rel=0.06)
        assert half_axes.min() > 4.7
        assert half_axes.max() < 9.3


def test_rods_are_as_long_and_thick_as_asked():
    for seed in range(4):
        rod = simulate.rods((40, 40, 40), seed=seed, count=1, length=(20.0, 20.0), diameter=4.0)
        solid = rod / rod.max()
        expected = torch.pi * 2**2 * 16 + 4.189 * 2**3
        assert float(solid.sum()) == pytest.approx(expected, rel=0.06)
        place = torch.nonzero(solid > 0.5).float()
        longest = torch.linalg.eigvalsh(torch.cov(place.T))[-1]
        assert float((12 * longest).sqrt()) == pytest.approx(20, rel=0.1)


def test_dots_are_as_wide_and_bright_as_asked():
    volume = simulate.dots((24, 24, 24), seed=1, count=1, diameter=5.0)
    assert float((volume > volume.max() / 2).sum()) == pytest.approx(4.189 * 2.5**3, rel=0.15)
    assert 0.39 < float(volume.max()) < 1.01


def test_nuclei_in_a_volume_smaller_than_their_grain():
    for seed in range(9):
        volume = simulate.nuclei((2, 2, 2), seed=seed)
        assert float(volume.min()) >= 0 and float(volume.max()) == 1
    assert not simulate.nuclei((8, 8, 8), seed=0, count=0).any()


def test_nuclei_are_textured_inside_and_dark_outside():
    volume = simulate.nuclei((48, 64, 64), seed=2, count=1, radius=(14.0, 14.0))
    inside = volume[volume > 0]
    assert volume.max() == 1
    assert len(inside) == pytest.approx(4.189 * 14**3, rel=0.2)
    assert 0.2 < float(inside.std() / inside.mean()) < 1.5


def test_phantoms_differ_and_do_not_depend_on_their_number():
    three = simulate.phantoms(3, (12, 24, 24), seed=5, voxel=(2.0, 1.0, 1.0))
    assert three.shape == (3, 12, 24, 24)
    assert torch.equal(three[:2], simulate.phantoms(2, (12, 24, 24), seed=5, voxel=(2, 1, 1)))
    assert not torch.equal(three[0], three[1])
    assert three.amax((1, 2, 3)).tolist() == [1, 1, 1]
    assert three.min() >= 0


@pytest.mark.parametrize("kind", simulate.KINDS)
def test_phantoms_of_each_kind(kind):
    volume = simulate.phantoms(1, (16, 24, 24), seed=1, kinds=(kind,))[0]
    alone = simulate.KINDS[kind]
    assert 0 < float((volume > 0.1).float().mean()) < 0.9
    assert alone.__name__ == kind


def test_pixels_hold_the_mean_of_what_falls_on_them():
    light = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)
    pixels = simulate.to_pixels(light, (3, 2, 3))
    assert pixels.shape == (2, 1, 2, 2)
    assert pixels[1, 0, 0, 1] == light[1, :, :2, 3:].mean()
    focus = simulate.to_pixels(light, (3, 2, 3), planes="middle")
    assert focus[1, 0, 0, 1] == light[1, 1, :2, 3:].mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: simulate.to_pixels(v, (2, 2)), "factors must be three positive integers"),
        (lambda v: simulate.to_pixels(v, (1, 4, 1)), r"must divide the extents \(4, 6, 6\)"),
        (lambda v: simulate.to_pixels(v, (1, 1, 1), planes="all"), "planes must be 'mean' or"),
        (lambda v: simulate.to_pixels(v, (2, 2, 2), planes="middle"), "factors must be odd along"),
    ],
)
def test_pixels_reject(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(4, 6, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate.phantoms(0, (4, 4, 4), seed=1), "count must be at least 1, got 0"),
        (lambda: simulate.phantoms(1, (4, 4), seed=1), "phantoms: shape must be three"),
        (lambda: simulate.phantoms(1, (4, 4, 4), seed=1, kinds=["cells"]), "got cells"),
        (lambda: simulate.phantoms(1, (4, 4, 4), seed=1, kinds=[]), "kinds must be some of"),
        (lambda: simulate.dots((4, 4, 4), seed=1, diameter=0.0), "diameter must be positive"),
        (lambda: simulate.rods((4, 4, 4), seed=1, length=(0.0, 2.0)), "length must be positive"),
        (lambda: simulate.nuclei((4, 4, 4), seed=1, grain=-1.0), "grain must be positive"),
        (lambda: simulate.beads((0, 4, 4), seed=1), "beads: shape must be three positive"),
        (lambda: simulate.shells((4, 4), seed=1), "shells: shape must be three positive"),
        (lambda: simulate.filaments((4, 4, 4), seed=1, voxel=(1, 0, 1)), "voxel must be three"),
        (lambda: simulate.filaments((4, 4, 4), seed=1, thickness=-1.0), "thickness must be"),
        (lambda: simulate.shells((9, 9, 9), seed=1, wall=0.0), "wall must be positive"),
        (lambda: simulate.beads((9, 9, 9), seed=1, radius=(0.0, 1.0)), "radius must be positive"),
    ],
)
def test_specimens_reject(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_noise_is_poisson():
    truth = torch.ones(1, 64, 64)
    image = simulate.blur_and_noise(
        truth, gaussian((1, 1, 1), 0.0), peak_photons=40.0, background=10.0, seed=3
    )
    assert torch.equal(image, image.round())
    assert float(image.mean()) == pytest.approx(50, rel=0.02)
    assert float(image.var()) == pytest.approx(50, rel=0.1)


def test_blur_puts_the_peak_where_it_is():
    truth = torch.zeros(9, 15, 15)
    truth[4, 7, 5] = 1
    image = simulate.blur_and_noise(truth, gaussian((5, 7, 7), 1.0), 1e6, seed=1)
    assert torch.unravel_index(image.argmax(), image.shape) == (4, 7, 5)
    assert float(image.max()) == pytest.approx(1e6, rel=0.01)


def test_light_leaves_through_a_dark_edge_but_not_round_it():
    truth = torch.zeros(1, 16, 16)
    truth[0, 0, 8] = 1
    psf = gaussian((1, 7, 7), 1.5)
    dark = simulate.blur_and_noise(truth, psf, 1e5)
    periodic = simulate.blur_and_noise(truth, psf, 1e5, boundary="circular")
    assert float(dark[0, -1].sum()) == 0
    assert float(periodic[0, -1].sum()) > 1e4


def test_an_extended_truth_is_larger_than_the_image():
    psf = gaussian((3, 5, 4), 1.0)
    image = simulate.blur_and_noise(torch.rand(10, 20, 20), psf, 100.0, boundary="extended")
    assert image.shape == (8, 16, 17)


def test_each_volume_of_a_batch_has_its_own_peak():
    truth = torch.rand(2, 4, 12, 12) * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
    image = simulate.blur_and_noise(truth, gaussian((3, 3, 3), 0.8), 1e6)
    assert image.amax((1, 2, 3)).tolist() == pytest.approx([1e6, 1e6], rel=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peak_photons": 0.0}, "peak_photons must be finite and positive"),
        ({"background": -1.0}, "background must be finite and not negative"),
        ({"truth": -torch.ones(2, 4, 4)}, "truth must not be negative, lowest value -1"),
        ({"truth": torch.zeros(2, 4, 4)}, "truth must hold some light"),
    ],
)
def test_blur_and_noise_rejects(change, message):
    arguments = {"truth": torch.ones(2, 4, 4), "psf": gaussian((1, 3, 3), 1.0)}
    arguments = {**arguments, "peak_photons": 10.0, **change}
    with pytest.raises(ValueError, match=message):
        simulate.blur_and_noise(**arguments)


def test_camera_counts():
    photons = torch.full((64, 64), 100.0)
    counts = simulate.camera(photons, gain=2.0, offset=50.0, read_noise=3.0, seed=1)
    assert torch.equal(counts, counts.round())
    assert float(counts.mean()) == pytest.approx(250, abs=0.5)
    assert float(counts.std()) == pytest.approx(6, rel=0.05)
    assert torch.equal(
        counts, simulate.camera(photons, gain=2.0, offset=50.0, read_noise=3.0, seed=1)
    )


def test_camera_saturates():
    photons = torch.tensor([0.0, 10.0, 5000.0])
    counts = simulate.camera(photons, gain=1.0, offset=100.0, read_noise=0.0, bits=12)
    assert counts.tolist() == [100, 110, 4095]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gain": 0.0}, "gain must be positive"),
        ({"read_noise": -1.0}, "read_noise must be finite and not negative"),
        ({"bits": 32}, "bits must lie in 1 to 24, got 32"),
    ],
)
def test_camera_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        simulate.camera(torch.ones(3), **change)
