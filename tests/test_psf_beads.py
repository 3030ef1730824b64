# SPDX-License-Identifier: BSD-3-Clause
"""PSFs out of bead stacks: which beads are used, and how well their mean meets the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from otfuse import psf as psfs
from otfuse.cli import main
from otfuse.io import find_provenance, read_stack, write_stack

VOXEL = (0.2, 0.1, 0.1)
OPTICS = {"na": 0.9, "wavelength": 0.55, "immersion_index": 1.33, "sheet_thickness": 1.5}
SHAPE = (15, 17, 17)
# Well apart, with room around each: z, y, x.
ALONE = [
    (9.3, 20.0, 21.6), (10.1, 24.7, 70.2), (9.8, 60.4, 30.9), (10.6, 66.5, 81.3),
    (9.5, 101.2, 24.4), (10.2, 98.8, 66.0),
]  # fmt: skip
pytestmark = pytest.mark.usefixtures("one_thread")


def bead_stack(beads, shape=(20, 128, 110), ground=100.0, seed=3):
    """Photon counts of beads at (z, y, x) with peaks of some height, drawn in Fourier space."""
    fine = psfs.light_sheet((21, 41, 41), VOXEL, dtype=torch.float64, **OPTICS)
    size = [n + k - 1 for n, k in zip(shape, fine.shape, strict=True)]
    waves = [torch.fft.fftfreq(n, dtype=torch.float64) for n in size]
    spectrum = torch.zeros(size, dtype=torch.complex128)
    for place, peak in beads:
        turns = [torch.exp(-2j * torch.pi * f * p) for f, p in zip(waves, place, strict=True)]
        spectrum += peak * torch.einsum("i,j,k->ijk", *turns)
    light = torch.fft.ifftn(torch.fft.fftn(fine / fine.max(), size) * spectrum).real
    first = [k // 2 for k in fine.shape]
    image = light[tuple(slice(f, f + n) for f, n in zip(first, shape, strict=True))]
    counts = np.random.default_rng(seed).poisson(image.clamp(min=0).numpy() + ground)
    return counts.astype(np.uint16)


def near(place, other):
    return all(abs(a - b) < 1.5 for a, b in zip(place, other, strict=True))


def test_beads_that_stand_alone_give_the_psf():
    measured = psfs.from_beads(bead_stack([(p, 4000.0) for p in ALONE]), shape=SHAPE)
    assert len(measured.used) == len(ALONE) and measured.rejected == ()
    assert str(measured) == "6 of 6 beads used"
    assert isinstance(measured.psf, np.ndarray) and measured.psf.dtype == np.float32
    assert measured.psf.sum() == pytest.approx(1, abs=1e-4)
    assert measured.background == pytest.approx(104, abs=8)  # 100, and haze of peaks of 4000
    for place in measured.used:
        truth = min(ALONE, key=lambda p: abs(p[1] - place[1]) + abs(p[2] - place[2]))
        assert place == pytest.approx(truth, abs=0.06)
    exact = psfs.light_sheet(SHAPE, VOXEL, **OPTICS).numpy()
    difference = measured.psf / measured.psf.max() - exact / exact.max()
    assert np.abs(difference).max() < 0.05
    widths = psfs.resolution(measured.psf, VOXEL).fwhm
    assert widths == pytest.approx(psfs.resolution(exact, VOXEL).fwhm, rel=0.03)


def test_averaging_beats_a_single_bead():
    stack = bead_stack([(p, 400.0) for p in ALONE])
    exact = psfs.light_sheet(SHAPE, VOXEL, **OPTICS).numpy()
    many = psfs.from_beads(stack, shape=SHAPE).psf
    one = psfs.from_beads(stack[:, :42, :42], shape=SHAPE).psf
    errors = [float(np.linalg.norm(psf / psf.max() - exact / exact.max())) for psf in (many, one)]
    assert errors[0] < 0.7 * errors[1]


def test_clumps_edges_and_strangers_are_left_out():
    pair = [((10.0, 118.0, 90.0), 3000.0), ((10.0, 112.0, 95.0), 2500.0)]
    edge = [((10.0, 3.0, 50.0), 3000.0), ((10.2, 60.0, 106.0), 3000.0), ((1.0, 44.0, 50.0), 3000.0)]
    doublet = [((10.0, 82.0, 46.0), 2500.0), ((10.0, 83.9, 48.6), 2500.0)]
    alone = [(p, 3000.0) for p in ALONE]
    measured = psfs.from_beads(bead_stack([*alone, *pair, *edge, *doublet]), shape=SHAPE)
    reasons = {why: [p for p, r in measured.rejected if r == why] for _, why in measured.rejected}
    assert len(measured.used) == len(ALONE)
    assert all(any(near(place, p) for p in ALONE) for place in measured.used)
    assert len(reasons["edge"]) == 3
    assert all(any(near(place, p) for p, _ in pair) for place in reasons["clump"])
    assert len(reasons["clump"]) == 2 and len(reasons["unlike"]) == 1
    assert str(measured) == ("6 of 12 beads used (3 at the edge, 2 in clumps, 1 unlike the others)")


def test_saturated_beads_are_left_out():
    stack = bead_stack([(p, 3000.0 + 3000.0 * (i == 2)) for i, p in enumerate(ALONE)])
    measured = psfs.from_beads(np.minimum(stack, 4000), shape=SHAPE)
    assert [why for _, why in measured.rejected] == ["saturated"]
    assert near(measured.rejected[0][0], ALONE[2])


def test_a_plane_of_beads_and_tensors():
    stack = torch.from_numpy(bead_stack([(p, 3000.0) for p in ALONE])[10].astype(np.float64))
    measured = psfs.from_beads(stack)
    assert isinstance(measured.psf, torch.Tensor) and measured.psf.dtype == torch.float64
    assert measured.psf.ndim == 2 and len(measured.used[0]) == 2


def test_real_bead(shared_stack):
    stack = shared_stack("flowdec_bead-25pct_data.tif")
    measured = psfs.from_beads(stack)
    assert str(measured) == "1 of 1 beads used"
    widths = psfs.resolution(measured.psf).fwhm
    assert widths[1] == pytest.approx(widths[2], rel=0.05)
    middle = np.array(measured.psf.shape) // 2
    bright = np.argwhere(measured.psf > 0.5 * measured.psf.max())
    np.testing.assert_allclose(bright.mean(0), middle, atol=0.6)
    flipped = measured.psf[:, ::-1, ::-1]
    likeness = np.corrcoef(measured.psf.ravel(), flipped.ravel())[0, 1]
    assert likeness > 0.95


def test_rejects():
    flat = np.full((9, 30, 30), 7.0)
    with pytest.raises(ValueError, match="from_beads: stack must show beads, got nothing"):
        psfs.from_beads(flat)
    with pytest.raises(ValueError, match="from_beads: stack must be finite"):
        psfs.from_beads(np.full((9, 30, 30), np.nan))
    with pytest.raises(ValueError, match="from_beads: stack must be finite, with axes"):
        psfs.from_beads(np.zeros((2, 9, 30, 30)))
    stack = bead_stack([(ALONE[0], 3000.0)])
    with pytest.raises(ValueError, match="from_beads: shape must be 3 positive extents"):
        psfs.from_beads(stack, shape=(99, 5, 5))
    with pytest.raises(ValueError, match=r"room for a PSF of .*, got 1 at the edge; give a smal"):
        psfs.from_beads(stack, shape=(15, 99, 99))


@pytest.fixture
def beads(tmp_path):
    path = tmp_path / "beads.tif"
    write_stack(path, bead_stack([(p, 3000.0) for p in ALONE])[None, None], voxel=VOXEL)
    return path


def test_command(beads, tmp_path, capsys):
    target, picture = tmp_path / "psf.tif", tmp_path / "psf.png"
    words = [
        "psf",
        "--from-beads",
        beads,
        "-o",
        target,
        "--preview",
        picture,
        "--shape",
        "15,17,17",
    ]
    assert main([str(word) for word in words]) == 0
    out = capsys.readouterr().out
    assert "6 of 6 beads used" in out and "full width at half maximum" in out
    written = read_stack(target)
    assert written.spatial_shape == SHAPE and written.voxel == pytest.approx(VOXEL)
    expected = psfs.from_beads(read_stack(beads).data[0, 0], shape=SHAPE).psf
    np.testing.assert_allclose(written.data[0, 0], expected, rtol=1e-6)
    assert len(find_provenance(written.description)["parameters"]["used"]) == 6
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and picture.stat().st_size > 20_000


def test_command_without_a_voxel_size(tmp_path, capsys):
    stack = tmp_path / "plane.tif"
    plane = bead_stack([(p, 3000.0) for p in ALONE])[10]
    write_stack(stack, plane[None, None, None], voxel=(None, None, None))
    picture = tmp_path / "psf.png"
    words = ["psf", "--from-beads", stack, "-o", tmp_path / "psf.tif", "--preview", picture]
    assert main([str(word) for word in words]) == 0
    assert "voxels (y, x)" in capsys.readouterr().out
    assert picture.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--na", "1.2"], "--from-beads must be given without --image and without optics"),
        (["--depth", "3"], "--from-beads must be given without --image and without optics"),
        (["--vectorial"], "--from-beads must be given without --image and without optics"),
        (["--pinhole", "0"], "--from-beads must be given without --image and without optics"),
        (["--shape", "99,9,9"], "shape must be 3 positive extents within the stack's"),
        (["--voxel", "0.1,0.1"], "--voxel must be three numbers"),
    ],
)
def test_command_refuses(beads, tmp_path, capsys, words, message):
    target = tmp_path / "psf.tif"
    code = main(["psf", "--from-beads", str(beads), "-o", str(target), *words])
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1
    assert not target.exists()


def test_command_refuses_channels_and_lone_pictures(tmp_path, capsys):
    path = tmp_path / "two.tif"
    write_stack(path, np.ones((1, 2, 5, 30, 30), np.float32), voxel=VOXEL)
    target = str(tmp_path / "psf.tif")
    assert main(["psf", "--from-beads", str(path), "-o", target]) == 2
    assert "must be one channel at one time, got 2 channels" in capsys.readouterr().err
    assert main(["psf", "-o", target, "--preview", "x.png", "--shape", "3,3,3"]) == 2
    assert "--preview must go with --from-beads" in capsys.readouterr().err
