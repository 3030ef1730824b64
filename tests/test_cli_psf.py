# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse psf`: the file it writes, where its numbers come from, and what it refuses."""

import numpy as np
import pytest

from otfuse import psf as psfs
from otfuse.cli import main
from otfuse.io import find_provenance, read_stack, write_stack

OPTICS = ["--na", "1.4", "--wavelength", "0.52", "--immersion-index", "1.515"]
GRID = ["--voxel", "0.2,0.08,0.09", "--shape", "7,15,16"]


@pytest.fixture
def run(capfd):
    def call(*words):
        code = main([str(word) for word in ("psf", *words)])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def target(tmp_path):
    return tmp_path / "psf.tif"


def test_writes_a_widefield_psf(run, target):
    code, out, err = run("-o", target, *OPTICS, *GRID)
    assert (code, err) == (0, "")
    assert "widefield (assumed)" in out
    assert "7 x 15 x 16 voxels" in out
    stack = read_stack(target)
    expected = psfs.widefield(
        (7, 15, 16), (0.2, 0.08, 0.09), na=1.4, wavelength=0.52, immersion_index=1.515
    )
    np.testing.assert_array_equal(stack.data[0, 0], expected.numpy())
    assert stack.voxel == pytest.approx((0.2, 0.08, 0.09))
    record = find_provenance(stack.description)
    assert record["parameters"]["optics"]["na"] == 1.4
    assert len(record["psf_sha256"]) == 64


def test_confocal_and_light_sheet(run, target):
    code, _, err = run(
        "-o", target, *OPTICS, *GRID, "--modality", "confocal", "--excitation-wavelength", 0.488,
        "--pinhole", 0.4,
    )  # fmt: skip
    assert (code, err) == (0, "")
    confocal = psfs.confocal(
        (7, 15, 16), (0.2, 0.08, 0.09), na=1.4, wavelength=0.52, immersion_index=1.515,
        excitation_wavelength=0.488, pinhole=0.4 / psfs.airy_unit(1.4, 0.52),
    )  # fmt: skip
    np.testing.assert_array_equal(read_stack(target).data[0, 0], confocal.numpy())
    code, _, err = run(
        "-o", target, *OPTICS, *GRID, "--modality", "lightsheet", "--sheet-thickness", 2,
        "--overwrite",
    )  # fmt: skip
    assert (code, err) == (0, "")
    sheet = psfs.light_sheet(
        (7, 15, 16), (0.2, 0.08, 0.09), na=1.4, wavelength=0.52, immersion_index=1.515,
        sheet_thickness=2.0,
    )  # fmt: skip
    np.testing.assert_array_equal(read_stack(target).data[0, 0], sheet.numpy())


def test_sample_and_coverslip(run, target):
    code, out, err = run(
        "-o", target, *OPTICS, *GRID, "--sample-index", 1.33, "--depth", 3, "--coverslip", 165
    )
    assert (code, err) == (0, "")
    assert "warning" in out
    assert "na 1.4 exceeds sample_index 1.33" in out
    assert "depth 3 µm" in out
    psf = read_stack(target).data[0, 0]
    assert np.abs(psf - psf[::-1]).max() > 1e-3 * psf.max()


def test_extents_and_voxel_from_an_image(run, target, tmp_path):
    image = tmp_path / "image.tif"
    write_stack(image, np.ones((1, 1, 6, 20, 24), np.float32), voxel=(0.2, 0.1, 0.1))
    code, out, err = run("-o", target, *OPTICS, "--image", image)
    assert (code, err) == (0, "")
    stack = read_stack(target)
    assert stack.spatial_shape == psfs.default_shape(
        (6, 20, 24), (0.2, 0.1, 0.1), na=1.4, wavelength=0.52, immersion_index=1.515
    )
    assert stack.voxel == pytest.approx((0.2, 0.1, 0.1))
    assert "0.2, 0.1, 0.1 µm" in out


def test_optics_from_the_metadata(run, target, tmp_path):
    image = tmp_path / "image.ome.tif"
    stack = ome_stack(wavelengths=(0.6,))
    write_stack(image, stack.data, like=stack)
    code, out, err = run("-o", target, "--image", image, "--shape", "3,9,9")
    assert (code, err) == (0, "")
    assert "emission 0.6 µm" in out
    expected = psfs.widefield(
        (3, 9, 9), (0.25, 0.1, 0.1), na=0.8, wavelength=0.6, immersion_index=1.0
    )
    np.testing.assert_allclose(read_stack(target).data[0, 0], expected.numpy(), rtol=1e-5)


def test_channels_of_several_colours_need_a_choice(run, target, tmp_path):
    image = tmp_path / "image.ome.tif"
    stack = ome_stack(wavelengths=(0.5, 0.6))
    write_stack(image, stack.data, like=stack)
    code, _, err = run("-o", target, "--image", image, "--shape", "3,9,9")
    assert code == 2
    assert "--wavelength must say which of the image's channels is meant" in err
    assert run("-o", target, "--image", image, "--shape", "3,9,9", "--wavelength", 0.6)[0] == 0


def ome_stack(wavelengths):
    from otfuse.io import Optics, Stack

    return Stack(
        np.ones((1, len(wavelengths), 3, 8, 8), np.float32),
        "CZYX",
        "CZYX",
        voxel=(0.25, 0.1, 0.1),
        optics=Optics(na=0.8, immersion_index=1.0, wavelengths=wavelengths),
        kind="ome",
    )


def test_warns_of_coarse_sampling(run, target):
    code, out, _ = run("-o", target, *OPTICS, "--voxel", "0.6,0.2,0.05", "--shape", "3,9,9")
    assert code == 0
    assert "coarser than Nyquist (z 0.6 µm, needed" in out
    assert "; y 0.2 µm" in out
    assert "x 0.05 µm" not in out


def test_an_existing_file_stays(run, target):
    target.write_text("mine")
    code, _, err = run("-o", target, *OPTICS, *GRID)
    assert code == 2
    assert "--overwrite" in err
    assert target.read_text() == "mine"
    assert run("-o", target, *OPTICS, *GRID, "--overwrite")[0] == 0


REFUSED = [
    ([*OPTICS, *GRID, "--na", 1.6], "na must not exceed immersion_index, got na 1.6"),
    ([*OPTICS, *GRID, "--na", 0], "na must be positive"),
    ([*OPTICS, *GRID, "--wavelength", 520], "520 nm is 0.52"),
    ([*OPTICS, *GRID, "--voxel", "0.2,0,0.1"], "voxel must be three positive lengths"),
    ([*OPTICS, *GRID, "--voxel", "0.2,0.1"], "--voxel must be three numbers"),
    ([*OPTICS, *GRID, "--shape", "7,15,1.5"], "--shape must be three whole numbers"),
    ([*OPTICS, *GRID, "--shape", "7,15,nan"], "--shape must be three whole numbers"),
    ([*OPTICS, *GRID, "--shape", "99999,99999,99999"], "memory must hold the model of 99999 x"),
    ([*OPTICS, *GRID, "--depth", 5], "depth must come with sample_index"),
    (OPTICS, "--shape Z,Y,X or --image IMAGE must be given"),
    ([*OPTICS, "--shape", "3,9,9"], "must be given --voxel"),
    (GRID, "must be given --na, --wavelength, --immersion-index"),
    (
        [*OPTICS, *GRID, "--modality", "confocal"],
        "the confocal model must be given --excitation-wavelength, --pinhole",
    ),
    ([*OPTICS, *GRID, "--modality", "lightsheet"], "must be given --sheet-thickness"),
    ([*OPTICS, *GRID, "--modality", "sted"], "sted"),
    ([*OPTICS, "--image", "missing.tif"], "missing.tif"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[case[1][:30] for case in REFUSED])
def test_refuses(run, target, words, message):
    code, _, err = run("-o", target, *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not target.exists()


def test_refuses_a_strange_target(run, tmp_path):
    code, _, err = run("-o", tmp_path / "psf.png", *OPTICS, *GRID)
    assert code == 2
    assert "--output must end in .tif" in err
    code, _, err = run("-o", tmp_path / "nowhere" / "psf.tif", *OPTICS, *GRID)
    assert code == 2
    assert "nowhere" in err
