# SPDX-License-Identifier: BSD-3-Clause
"""Optics from options and metadata, and PSFs out of files: what is taken from where, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli_helpers import lopsided_psf, save
from otfuse.cli import _psf_input
from otfuse.cli._errors import UsageError
from otfuse.cli._optics import (
    choose_optics,
    introduce,
    report_optics,
    report_voxel,
    require_model,
    warn_of_sampling,
)
from otfuse.cli._options import DeconvolveOptions, parse_memory, parse_numbers, per_channel
from otfuse.cli._report import Report
from otfuse.io import Optics, Stack
from otfuse.psf import MODALITIES, airy_unit, confocal, widefield


def options(**given: Any) -> DeconvolveOptions:
    return DeconvolveOptions(image=Path("in.tif"), output=Path("out.tif"), **given)


def stack(
    shape: tuple[int, ...] = (1, 2, 9, 20, 22), voxel: Any = (0.3, 0.1, 0.1), **optics: Any
) -> Stack:
    sources = {name: f"OME {name}" for name in optics}
    return Stack(
        np.ones(shape, np.uint16),
        "CZYX",
        "CZYX",
        voxel=voxel,
        voxel_source="OME metadata",
        channel_names=("DAPI", "GFP")[: shape[1]],
        optics=Optics(**optics, sources=sources),
    )


KNOWN: dict[str, Any] = {
    "na": 1.2,
    "immersion_index": 1.33,
    "wavelengths": (0.461, 0.52),
    "modality": "widefield",
}


def test_metadata_alone() -> None:
    chosen = choose_optics(options(), stack(**KNOWN))
    assert chosen.na == 1.2 and chosen.wavelengths == (0.461, 0.52)
    assert chosen.voxel == (0.3, 0.1, 0.1) and chosen.sources["voxel"] == "OME metadata"
    assert chosen.missing(flat=False) == []


def test_options_win_and_the_difference_is_told() -> None:
    given = options(na=1.1, wavelength="0.5", voxel="0.3,0.11,0.11", modality="lightsheet")
    chosen = choose_optics(given, stack(**KNOWN))
    assert chosen.na == 1.1 and chosen.wavelengths == (0.5, 0.5)
    assert chosen.sources["na"] == "--na; OME na says 1.2"
    assert chosen.sources["wavelengths"] == "--wavelength; OME wavelengths says 0.461, 0.52"
    assert chosen.sources["voxel"] == "--voxel; OME metadata says 0.3, 0.1, 0.1"
    assert chosen.modality == "lightsheet" and chosen.sources["modality"] == "--modality"
    same = choose_optics(options(na=1.2, voxel="0.3,0.1,0.1"), stack(**KNOWN))
    assert same.sources["na"] == "--na" and same.sources["voxel"] == "--voxel"


@pytest.mark.parametrize(
    ("given", "found", "modality", "source"),
    [
        ({}, {}, "widefield", "assumed: neither --modality nor the file says"),
        ({}, {"modality": "confocal"}, "confocal", "OME modality"),
        ({"modality": "widefield"}, {"modality": "confocal"}, "widefield", "--modality"),
        ({"pinhole": "0.5"}, {}, "confocal", "there is a pinhole"),
        ({}, {"pinholes": (0.5, 0.6)}, "confocal", "there is a pinhole"),
        ({"sheet_thickness": 2.0}, {}, "lightsheet", "there is a sheet thickness"),
    ],
)
def test_modality_is_widefield_only_when_nothing_else_is_known(
    given: dict[str, Any], found: dict[str, Any], modality: str, source: str
) -> None:
    chosen = choose_optics(options(**given), stack(**found))
    assert (chosen.modality, chosen.sources["modality"]) == (modality, source)


def test_a_channel_without_wavelength_is_missing() -> None:
    chosen = choose_optics(options(), stack(**{**KNOWN, "wavelengths": (0.461, None)}))
    assert chosen.missing(flat=False) == ["--wavelength"]
    with pytest.raises(UsageError, match="must be given --wavelength, which the file"):
        require_model(chosen, stack())


def test_a_2d_image_needs_no_dz() -> None:
    image = stack((1, 1, 1, 20, 22), voxel=(None, 0.1, 0.1), **{**KNOWN, "wavelengths": (0.5,)})
    assert choose_optics(options(), image).missing(flat=True) == []
    chosen = choose_optics(options(voxel="0.2,0.2"), image)
    assert chosen.voxel == (None, 0.2, 0.2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"depth": 5.0, "sample_index": 1.38, "vectorial": True},
         "--sample-index, --depth and --vectorial changed nothing: the PSF is that of --psf"),
        ({"coverslip": 170.0}, "--coverslip changed nothing: the PSF is that of --psf"),
        ({"na": 1.1}, None),
    ],
)  # fmt: skip
def test_a_model_that_nobody_makes_is_told(given: dict[str, Any], told: str | None) -> None:
    chosen = options(psf=(Path("psf.tif"),), **given)
    image, report = stack(**KNOWN), Report()
    introduce(choose_optics(chosen, image), chosen, image, report)
    assert report.warnings == ([] if told is None else [told])


def test_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    image = stack(**{**KNOWN, "wavelengths": (0.461, 0.461)})
    chosen, report = choose_optics(options(immersion_index=1.4), image), Report()
    report_voxel(chosen, report)
    report_optics(chosen, image, report)
    assert capsys.readouterr().out.splitlines() == [
        "voxel       0.3, 0.1, 0.1 µm (z, y, x; OME metadata)",
        "optics      NA 1.2 (OME na)",
        "            immersion index 1.4 (--immersion-index; OME immersion_index says 1.33)",
        "            emission 0.461 µm (OME wavelengths)",
        "            modality widefield (OME modality)",
    ]


@pytest.mark.parametrize(
    ("voxel", "told"),
    [
        ((0.2, 0.09, 0.09), None),
        ((0.9, 0.09, 0.09), "z 0.9 µm, needed 0.305"),
        ((0.2, 0.2, 0.2), "xy 0.2 µm, needed 0.096"),
        ((0.2, 0.09, 0.2), "x 0.2 µm, needed 0.096"),
        ((None, 0.2, 0.2), "xy 0.2 µm"),
        ((None, None, None), None),
    ],
)
def test_coarse_sampling_is_warned_of(voxel: Any, told: str | None) -> None:
    image, report = stack(voxel=voxel, **KNOWN), Report()
    warn_of_sampling(choose_optics(options(), image), image, report)
    assert len(report.warnings) == (0 if told is None else 1)
    assert told is None or told in report.warnings[0]


def test_sampling_of_unknown_optics_is_not_judged() -> None:
    image, report = stack(voxel=(9.0, 9.0, 9.0)), Report()
    warn_of_sampling(choose_optics(options(), image), image, report)
    assert report.warnings == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8GB", 8e9), ("500 MB", 5e8), ("2GiB", 2**31), ("1.5g", 1.5e9), ("1000", 1000)],
)
def test_memory_sizes(text: str, expected: float) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "8XB", "-1GB", "1.2.3GB", "0"])
def test_memory_sizes_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="must be a size such as 8GB"):
        parse_memory(text)


def test_numbers_per_channel() -> None:
    assert parse_numbers("0.3, 0.1,0.1", "--voxel") == (0.3, 0.1, 0.1)
    assert per_channel("5", "--background", 3) == (5, 5, 5)
    assert per_channel("5,6", "--background", 2) == (5, 6)


def fitted(
    pixels: np.ndarray, image: Stack, capsys: pytest.CaptureFixture[str], voxel: Any = (None,) * 3,
    **given: Any,
) -> tuple[np.ndarray, str]:  # fmt: skip
    """A PSF made fit for an image, and what was told of it."""
    chosen, report = choose_optics(options(**given), image), Report()
    psf = _psf_input.PsfFile(pixels.astype(np.float32), voxel, "psf.tif")
    capsys.readouterr()
    result = _psf_input._fit(psf, options(**given), image, chosen, report)
    return result, capsys.readouterr().out


def test_an_even_psf_is_centred(capsys: pytest.CaptureFixture[str]) -> None:
    """PSFGenerator puts the centre at (k - 1) / 2: half a voxel from where it belongs."""
    axes = [np.arange(8) - 3.5] * 3
    z, y, x = np.meshgrid(*axes, indexing="ij")
    psf = np.exp(-(z**2 + y**2 + x**2) / 3.0)
    for how in ("peak", "centroid"):
        result, told = fitted(psf, stack(), capsys, psf_center=how)
        assert f"{how} moved to the centre by +0.50, +0.50, +0.50 voxels (z, y, x)" in told
        places = np.meshgrid(*[np.arange(8)] * 3, indexing="ij")
        centroid = [float((result * place).sum()) for place in places]
        assert centroid == pytest.approx([4, 4, 4], abs=0.1)
    result, told = fitted(psf, stack(), capsys, psf_center="none")
    assert "moved" not in told
    np.testing.assert_allclose(result, psf / psf.sum(), rtol=1e-5)


def test_a_psf_of_other_voxels_is_resampled(capsys: pytest.CaptureFixture[str]) -> None:
    psf = lopsided_psf((9, 13, 13))
    result, told = fitted(psf, stack(), capsys, voxel=(0.3, 0.2, 0.2))
    assert "resampled from 0.3, 0.2, 0.2 to 0.3, 0.1, 0.1 µm" in told
    assert result.shape == (9, 25, 25) and result.sum() == pytest.approx(1, rel=1e-5)
    result, told = fitted(psf, stack(), capsys, voxel=(0.3, 0.1005, 0.1005))
    assert "resampled" not in told and result.shape == psf.shape


def test_unknown_voxel_sizes_are_taken_to_agree(capsys: pytest.CaptureFixture[str]) -> None:
    _, told = fitted(lopsided_psf(), stack(), capsys)
    assert "the PSF file tells no voxel size" in told
    _, told = fitted(lopsided_psf(), stack(voxel=(None,) * 3), capsys, voxel=(0.3, 0.1, 0.1))
    assert "the image tells no voxel size" in told


def test_a_large_psf_is_cut_laterally_and_never_along_z(
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = stack((1, 1, 4, 5, 6))
    result, told = fitted(np.ones((31, 13, 13)), image, capsys, psf_center="none")
    assert result.shape == (31, 9, 11)
    assert "warning     the PSF is larger than the work volume" in told
    lost = 1 - 9 * 11 / 169
    assert f"cropped from 31 x 13 x 13 to 31 x 9 x 11, {lost:.2%} of its light lost" in told
    small = np.full((31, 13, 13), 1e-6)
    small[15, 6, 6] = 1
    result, told = fitted(small, image, capsys, psf_center="none")
    assert result.shape == (31, 9, 11) and "warning" not in told and "cropped" in told
    result, told = fitted(
        np.ones((31, 13, 13)), image, capsys, psf_center="none", boundary="circular"
    )
    assert result.shape == (4, 5, 6)


def test_negative_voxels_of_a_psf_are_clipped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    psf = lopsided_psf()
    psf[0, 0, :2] = -0.01
    path = save(tmp_path / "psf.tif", psf[None, None])
    (read,) = _psf_input.read_psfs(options(psf=[path]), stack((1, 1, 9, 20, 22)), Report())
    share = 0.02 / np.abs(psf).sum()
    assert f"2 negative voxels, {share:.2%} of the light, set to zero" in capsys.readouterr().out
    np.testing.assert_array_equal(read.pixels, np.maximum(psf, 0))


@pytest.mark.parametrize("modality", MODALITIES)
def test_models(modality: str) -> None:
    given = options(
        modality=modality, excitation_wavelength="0.488", pinhole="0.5", sheet_thickness=1.5
    )
    image = stack((1, 1, 9, 20, 22), **{**KNOWN, "wavelengths": (0.52,)})
    (psf,) = _psf_input.prepare_psfs(given, image, choose_optics(given, image), Report())
    assert psf.ndim == 3 and psf.dtype == np.float32
    assert psf.sum() == pytest.approx(1, rel=1e-5)
    assert np.unravel_index(psf.argmax(), psf.shape) == tuple(k // 2 for k in psf.shape)
    assert psf.shape[0] <= 17
    assert psf.shape[0] == 17 or modality not in ("widefield", "spinningdisk")


def test_the_pinhole_of_the_command_line_is_in_micrometres() -> None:
    given = options(modality="confocal", excitation_wavelength="0.488", pinhole="0.8")
    image = stack((1, 1, 9, 20, 22), **{**KNOWN, "wavelengths": (0.52,)})
    (psf,) = _psf_input.prepare_psfs(given, image, choose_optics(given, image), Report())
    expected = confocal(
        psf.shape, image.voxel, na=1.2, wavelength=0.52, immersion_index=1.33,
        excitation_wavelength=0.488, pinhole=0.8 / airy_unit(1.2, 0.52),
    )  # fmt: skip
    np.testing.assert_allclose(psf, expected.numpy(), atol=1e-6 * float(expected.max()))


def test_sample_coverslip_and_polarisation_reach_the_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = options(sample_index=1.38, depth=6.0, coverslip=165.0, vectorial=True)
    image, report = stack((1, 1, 5, 20, 22), **{**KNOWN, "wavelengths": (0.52,)}), Report()
    chosen = choose_optics(given, image)
    report_optics(chosen, image, report)
    (psf,) = _psf_input.prepare_psfs(given, image, chosen, report)
    told = capsys.readouterr().out
    for words in ("sample index 1.38 (--sample-index)", "depth 6 µm (--depth)", "vectorial model"):
        assert words in told
    expected = widefield(
        psf.shape, image.voxel, na=1.2, wavelength=0.52, immersion_index=1.33, sample_index=1.38,
        depth=6.0, coverslip=165.0, vectorial=True,
    )  # fmt: skip
    np.testing.assert_allclose(psf, expected.numpy(), atol=1e-6 * float(expected.max()))


def test_an_aperture_above_the_sample_is_warned_of_once() -> None:
    given = options(immersion_index=1.515, na=1.4, sample_index=1.33, depth=2.0)
    image, report = stack(**KNOWN), Report()
    _psf_input.prepare_psfs(given, image, choose_optics(given, image), report)
    assert [w for w in report.warnings if "exceeds sample_index" in w] == report.warnings[:1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depth": 5.0}, "--depth must come with --sample-index"),
        ({"depth": -1.0, "sample_index": 1.4}, "--depth must not be negative"),
        ({"sample_index": -1.0}, "--sample-index must be positive"),
        ({"coverslip": 0.0}, "--coverslip must be positive"),
    ],
)
def test_impossible_samples(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_optics(options(**given), stack(**KNOWN))


def test_two_photons_need_a_laser_and_no_emission() -> None:
    image = stack(**{**KNOWN, "wavelengths": (), "modality": "twophoton"})
    chosen = choose_optics(options(), image)
    assert chosen.missing(flat=False) == ["--excitation-wavelength"]
    lit = choose_optics(options(excitation_wavelength="0.9"), image)
    assert lit.missing(flat=False) == []
    assert len(_psf_input.prepare_psfs(options(), image, lit, Report())) == 2


def test_widefield_spans_all_planes_and_the_cone() -> None:
    image = stack((1, 1, 9, 200, 220), **{**KNOWN, "wavelengths": (0.52,)})
    (psf,) = _psf_input.prepare_psfs(options(), image, choose_optics(options(), image), Report())
    cone = 8 * 0.3 * np.tan(np.arcsin(1.2 / 1.33)) / 0.1
    assert psf.shape[0] == 17 and min(psf.shape[1:]) >= 2 * cone


def test_channels_of_one_wavelength_share_a_psf() -> None:
    image = stack(**{**KNOWN, "wavelengths": (0.52, 0.52)})
    first, second = _psf_input.prepare_psfs(
        options(), image, choose_optics(options(), image), Report()
    )
    assert first is second


def test_a_flat_image_gets_a_flat_psf() -> None:
    image = stack((1, 1, 1, 20, 22), voxel=(None, 0.1, 0.1), **{**KNOWN, "wavelengths": (0.5,)})
    (psf,) = _psf_input.prepare_psfs(options(), image, choose_optics(options(), image), Report())
    assert psf.ndim == 2 and torch.as_tensor(psf).sum() == pytest.approx(1, rel=1e-5)
