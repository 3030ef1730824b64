# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve` from file to file: what is computed, written, stored and printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import otfuse
from cli_helpers import MODEL, VOXEL, CommandLine, counts, lopsided_psf, save
from conftest import SHARED
from otfuse.io import find_provenance, read_stack
from otfuse.io.camera import dark_levels


def expected(
    data: np.ndarray,
    psf: np.ndarray,
    background: float,
    offset: float | None = None,
    **options: Any,
) -> np.ndarray:
    options = {"boundary": "extended", "acceleration": "shb", "offset": offset, **options}
    image = data.astype(np.float32)
    return np.asarray(otfuse.richardson_lucy(image, psf, 3, background=background, **options))


def test_a_stack(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    data = counts((1, 1, 9, 20, 22))
    image = save(tmp_path / "image.tif", data)
    outcome = run.deconvolve(image, "--psf", psf, "--psf-center", "none")
    assert outcome.code == 0 and outcome.err == ""
    result = read_stack(tmp_path / "out.tif")
    assert result.axes == "ZYX" and result.data.dtype == np.float32
    assert result.voxel == pytest.approx(VOXEL)
    want = expected(data[0, 0], lopsided_psf(), *dark_levels(data[:, 0]))
    np.testing.assert_allclose(result.data[0, 0], want, rtol=1e-3, atol=1e-5 * want.max())
    for word in ("9 x 20 x 22", "background", "auto: minimum of the smoothed", "shb", "extended"):
        assert word in outcome.out


def test_defaults_are_those_of_a_microscopist(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    image = save(tmp_path / "image.tif", counts((1, 1, 5, 12, 12)))
    assert run("deconvolve", image, "-o", tmp_path / "o.tif", "--psf", psf).code == 0
    record = find_provenance(read_stack(tmp_path / "o.tif").description)
    assert record is not None
    options = record["parameters"]["options"]
    assert options["iters"] == 30 and options["acceleration"] == "shb"
    assert options["boundary"] == "extended" and options["background"] == "auto"
    assert options["mask_saturated"] is True and options["negative"] == "error"
    assert options["dtype"] == "float32" and options["psf_center"] == "peak"


@pytest.mark.parametrize(
    ("planes", "modality", "iters"),
    [(5, "widefield", 50), (5, "lightsheet", 30), (1, "widefield", 30)],
)
def test_iterations_by_microscope(
    planes: int, modality: str, iters: int, run: CommandLine, tmp_path: Path
) -> None:
    image = save(tmp_path / "image.tif", counts((1, 1, planes, 12, 12)))
    words = ["--na", "1.2", "--wavelength", "0.5", "--immersion-index", "1.33"]
    words += ["--modality", modality, "--sheet-thickness", "2"]
    assert run("deconvolve", image, "-o", tmp_path / "o.tif", *words).code == 0
    record = find_provenance(read_stack(tmp_path / "o.tif").description)
    assert record is not None and record["parameters"]["options"]["iters"] == iters


@pytest.mark.parametrize("boundary", ["extended", "reflect", "circular"])
@pytest.mark.parametrize("acceleration", ["shb", "none"])
def test_options_reach_the_engine(
    boundary: str, acceleration: str, run: CommandLine, psf: Path, tmp_path: Path
) -> None:
    data = counts((1, 1, 9, 20, 22))
    image = save(tmp_path / "image.tif", data)
    words = ["--psf", psf, "--boundary", boundary, "--acceleration", acceleration]
    assert run.deconvolve(image, *words, "--background", "90", "--psf-center", "none").code == 0
    want = expected(
        data[0, 0],
        lopsided_psf(),
        90.0,
        boundary=boundary,
        acceleration=None if acceleration == "none" else acceleration,
    )
    result = read_stack(tmp_path / "out.tif").data[0, 0]
    np.testing.assert_allclose(result, want, rtol=1e-3, atol=1e-5 * want.max())


def test_channels_and_time_points(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    """Each by itself, with one background per channel for all of its time points."""
    data = counts((3, 2, 5, 12, 14))
    data[:, 1] += 300
    image = save(tmp_path / "image.tif", data, channel_names=("DAPI", "GFP"), time_step=2.0)
    outcome = run.deconvolve(image, "--psf", psf, "--psf-center", "none", out="out.ome.tif")
    assert outcome.code == 0
    result = read_stack(tmp_path / "out.ome.tif")
    assert result.data.shape == data.shape and result.channel_names == ("DAPI", "GFP")
    assert result.time_step == 2.0
    for c in range(2):
        levels = dark_levels(data[:, c])
        for t in range(3):
            want = expected(data[t, c], lopsided_psf(), *levels)
            found = result.data[t, c]
            np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-5 * want.max())
    assert "DAPI: " in outcome.out and "GFP: " in outcome.out


@pytest.mark.parametrize("how", ["two files", "one file with channels"])
def test_one_psf_per_channel(how: str, run: CommandLine, psf: Path, tmp_path: Path) -> None:
    data = counts((1, 2, 5, 12, 14))
    image = save(tmp_path / "image.tif", data)
    wide = lopsided_psf((3, 5, 5))
    if how == "two files":
        other = save(tmp_path / "wide.tif", wide[None, None])
        words = ["--psf", psf, "--psf", other]
    else:
        padded = np.pad(wide, 1)
        both = save(tmp_path / "both.tif", np.stack([lopsided_psf(), padded])[None])
        words = ["--psf", both]
    words += ["--psf-center", "none", "--background", "80,90"]
    assert run.deconvolve(image, *words).code == 0
    result = read_stack(tmp_path / "out.tif").data[0]
    for c, (kernel, background) in enumerate(((lopsided_psf(), 80.0), (wide, 90.0))):
        want = expected(data[0, c], kernel, background)
        np.testing.assert_allclose(result[c], want, rtol=2e-2, atol=1e-3 * want.max())


@pytest.mark.parametrize("planes", [1, 5])
def test_a_2d_image(planes: int, run: CommandLine, tmp_path: Path) -> None:
    """With a 2-D PSF, or with the in-focus slice of a 3-D one."""
    data = counts((1, 1, 1, 20, 22))
    image = save(tmp_path / "image.tif", data)
    kernel = lopsided_psf((5, 7, 7))
    kernel = kernel[2:3] if planes == 1 else kernel
    psf = save(tmp_path / "flat.tif", kernel[None, None])
    outcome = run.deconvolve(image, "--psf", psf, "--background", "90", "--psf-center", "none")
    assert outcome.code == 0
    assert ("in-focus slice" in outcome.out) == (planes == 5)
    flat = lopsided_psf((5, 7, 7))[2]
    want = expected(data[0, 0, 0], flat / flat.sum(), 90.0)
    result = read_stack(tmp_path / "out.tif")
    assert result.axes == "YX"
    np.testing.assert_allclose(result.data[0, 0, 0], want, rtol=1e-3, atol=1e-5 * want.max())


def test_planes_as_separate_images(run: CommandLine, tmp_path: Path) -> None:
    data = counts((1, 1, 6, 20, 22))
    image = save(tmp_path / "image.tif", data)
    psf = save(tmp_path / "flat.tif", lopsided_psf()[2:3][None, None])
    words = ["--psf", psf, "--background", "90", "--psf-center", "none"]
    outcome = run.deconvolve(image, *words, "--axes", "TYX")
    assert outcome.code == 0 and "2-D image of its own" in outcome.out
    result = read_stack(tmp_path / "out.tif")
    assert result.axes == "TYX"
    flat = lopsided_psf()[2]
    want = expected(data[0, 0, 4], flat / flat.sum(), 90.0)
    np.testing.assert_allclose(result.data[4, 0, 0], want, rtol=1e-3, atol=1e-5 * want.max())


@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_integers_carry_their_factor(
    dtype: str, run: CommandLine, psf: Path, tmp_path: Path
) -> None:
    data = counts((2, 2, 5, 12, 14))
    image = save(tmp_path / "image.tif", data)
    assert run.deconvolve(image, "--psf", psf).code == 0
    outcome = run.deconvolve(image, "--psf", psf, "--dtype", dtype, out="int.tif")
    assert outcome.code == 0
    exact, stored = read_stack(tmp_path / "out.tif"), read_stack(tmp_path / "int.tif")
    record = find_provenance(stored.description)
    assert record is not None and stored.data.dtype == dtype
    for c, entry in enumerate(record["scale"]["factors"]):
        assert f"stored multiplied by {entry['factor']:.6g}" in outcome.out
        scaled = exact.data[:, c] * entry["factor"]
        assert np.abs(stored.data[:, c] - scaled).max() <= 0.51
        assert stored.data[:, c].max() == np.iinfo(dtype).max


def test_psf_from_the_optics(run: CommandLine, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "image.tif", counts((1, 1, 9, 20, 22))[0, 0], photometric="minisblack"
    )
    outcome = run.deconvolve(tmp_path / "image.tif", *MODEL)
    assert outcome.code == 0
    for text in (
        "taken as ZYX, a z-stack of 9 planes",
        "0.3, 0.1, 0.1 µm (z, y, x; --voxel)",
        "NA 1.2 (--na)",
        "emission 0.52 µm (--wavelength)",
        "immersion index 1.33 (--immersion-index)",
        "modality widefield (assumed: neither --modality nor the file says)",
        "widefield model: 17 x ",
    ):
        assert text in outcome.out
    assert read_stack(tmp_path / "out.tif").voxel == pytest.approx(VOXEL)


def test_psf_from_the_metadata(run: CommandLine, tmp_path: Path) -> None:
    from otfuse.io import Optics

    optics = Optics(
        na=1.2,
        immersion_index=1.33,
        magnification=60.0,
        wavelengths=(0.461, 0.52),
        excitation_wavelengths=(0.405, 0.488),
        pinholes=(0.5, 0.6),
        modality="confocal",
    )
    data = counts((1, 2, 5, 12, 14))
    image = save(tmp_path / "image.ome.tif", data, optics=optics, channel_names=("DAPI", "GFP"))
    outcome = run.deconvolve(image, out="out.ome.tif")
    assert outcome.code == 0
    for text in (
        "NA 1.2 (OME Objective LensNA)",
        "emission 0.461 (DAPI), 0.52 (GFP) µm (OME Channel EmissionWavelength)",
        "pinhole 0.5 (DAPI), 0.6 (GFP) µm at the specimen (OME Channel PinholeSize / magnification",
        "modality confocal (OME Channel AcquisitionMode",
        "confocal model for DAPI",
        "confocal model for GFP",
    ):
        assert text in outcome.out
    back = read_stack(tmp_path / "out.ome.tif")
    assert back.optics.na == 1.2 and back.optics.pinholes == pytest.approx((0.5, 0.6))


def test_provenance(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    image = save(tmp_path / "image.tif", counts((1, 1, 5, 12, 14)))
    assert run.deconvolve(image, "--psf", psf, "--background", "90").code == 0
    record = find_provenance(read_stack(tmp_path / "out.tif").description)
    assert record is not None
    assert record["version"] == otfuse.__version__ and record["time"].endswith("+00:00")
    assert len(record["psf_sha256"]) == 64 and record["psf_shapes"] == [[5, 7, 7]]
    parameters = record["parameters"]
    assert parameters["input"]["file"] == "image.tif"
    assert parameters["options"]["iters"] == 3
    assert parameters["channels"][0]["background"] == 90


def test_preview(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    image = save(tmp_path / "image.tif", counts((2, 2, 5, 12, 14)))
    outcome = run.deconvolve(image, "--psf", psf, "--preview", tmp_path / "look.png")
    assert outcome.code == 0
    for name in ("look-c1.png", "look-c2.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert name in outcome.out
    run.deconvolve(image, "--psf", psf, "--preview", tmp_path / "look.png", out="n.tif").failed(
        2, "output exists", "look-c1.png"
    )


def test_threads_change_nothing(
    run: CommandLine, psf: Path, tmp_path: Path, set_threads: Any
) -> None:
    image = save(tmp_path / "image.tif", counts((1, 1, 9, 20, 22)))
    set_threads(2)
    assert run.deconvolve(image, "--psf", psf, out="two.tif").code == 0
    assert run.deconvolve(image, "--psf", psf, "--threads", "1", out="one.tif").code == 0
    one, two = (read_stack(tmp_path / f"{name}.tif").data for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_the_bars_by_the_command_line(run: CommandLine, tmp_path: Path) -> None:
    """Real files, with all their traps: no labels, an even PSF off its centre, another flux."""
    folder = SHARED / "data"
    if not folder.exists():
        pytest.skip("shared data missing; set OTFUSE_SHARED to the folder")
    outcome = run.deconvolve(
        folder / "flowdec_bars-25pct_data.tif",
        "--psf",
        folder / "flowdec_bars-25pct_kernel.tif",
        "--psf-center",
        "centroid",
        "--iters",
        "10",
    )
    assert outcome.code == 0 and "centroid moved to the centre by" in outcome.out
    truth = tifffile.imread(folder / "flowdec_bars-25pct_actual.tif").astype(np.float64)
    data = tifffile.imread(folder / "flowdec_bars-25pct_data.tif").astype(np.float64)
    result = read_stack(tmp_path / "out.tif").data[0, 0].astype(np.float64)

    def correlation(a: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), truth.ravel())[0, 1])

    assert correlation(result) > correlation(data) + 0.08
