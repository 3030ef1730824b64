# SPDX-License-Identifier: BSD-3-Clause
"""Units, voxel sizes, optics and channels, out of OME-XML, ImageJ and baseline tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from otfuse.io import Optics, Stack, read_stack, write_stack
from otfuse.io.ome import parse_ome
from otfuse.io.units import micrometres_per, to_micrometres, to_seconds

OME = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Instrument ID="I:0">'
    '<Objective ID="O:0" LensNA="0.5" Immersion="Air" NominalMagnification="20"/>'
    '<Objective ID="O:1" LensNA="1.4" {lens} NominalMagnification="60"/>'
    "</Instrument>"
    '<Image ID="Image:0"><Description>made at night</Description>'
    '<InstrumentRef ID="I:0"/><ObjectiveSettings ID="O:1" {settings}/>'
    '<Pixels DimensionOrder="XYZCT" ID="Pixels:0" SizeC="2" SizeT="1" SizeX="30" SizeY="20" '
    'SizeZ="5" Type="uint16" {pixels}>'
    '<Channel ID="C:0" Name="DAPI" {first}/><Channel ID="C:1" Name="GFP" {second}/>'
    "</Pixels></Image></OME>"
)


def ome(**parts: str) -> str:
    names = ("lens", "settings", "pixels", "first", "second")
    return OME.format(**{name: parts.get(name, "") for name in names})


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("µm", 1.0),
        ("\u03bcm", 1.0),
        ("um", 1.0),
        ("micron", 1.0),
        ("Microns", 1.0),
        ("\\u00B5m", 1.0),
        ("nm", 1e-3),
        ("pm", 1e-6),
        ("Å", 1e-4),
        ("\u212b", 1e-4),
        ("mm", 1e3),
        ("cm", 1e4),
        ("m", 1e6),
        ("km", 1e9),
        ("Mm", 1e12),
        ("dam", 1e7),
        ("fm", 1e-9),
        ("nanometer", 1e-3),
        ("Micrometre", 1.0),
        ("inch", 25400.0),
        ("in", 25400.0),
        ("ft", 304800.0),
        ("yd", 914400.0),
        ("mi", 1.609344e9),
        ("thou", 25.4),
        ("li", 25400 / 12),
        ("pt", 25400 / 72),
        ("ua", 1.495978707e17),
        ("ly", 9.4607304725808e21),
        ("pc", 3.0856775814913673e22),
        ("pixel", None),
        ("reference frame", None),
        ("", None),
    ],
)
def test_every_ome_unit_of_length(unit: str, expected: float | None) -> None:
    scale = micrometres_per(unit)
    assert scale == (None if expected is None else pytest.approx(expected, rel=1e-12))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_lengths_are_unknown(value: float) -> None:
    assert to_micrometres(value, "nm") is None


def test_times() -> None:
    assert to_seconds(250, "ms") == pytest.approx(0.25)
    assert to_seconds(2, "min") == 120
    assert to_seconds(2, "parsec") is None


def test_ome_voxel_in_mixed_units() -> None:
    pixels = (
        'PhysicalSizeX="65" PhysicalSizeXUnit="nm" PhysicalSizeY="650" PhysicalSizeYUnit="Å" '
        'PhysicalSizeZ="0.0003" PhysicalSizeZUnit="mm"'
    )
    image = parse_ome(ome(pixels=pixels))
    assert image.voxel == pytest.approx((0.3, 0.065, 0.065))
    assert image.units == ("mm", "Å", "nm")
    assert image.channel_names == ("DAPI", "GFP")
    assert image.description == "made at night"


def test_ome_default_units() -> None:
    image = parse_ome(
        ome(pixels='PhysicalSizeX="0.1"', first='EmissionWavelength="461" PinholeSize="60"')
    )
    assert image.voxel == (None, None, 0.1)
    assert image.optics.wavelengths == (0.461, None)
    assert image.optics.pinholes == (1.0, None)


def test_ome_optics_of_the_objective_in_use() -> None:
    optics = parse_ome(ome(lens='Immersion="Oil"')).optics
    assert (optics.na, optics.magnification) == (1.4, 60)
    assert optics.immersion_index == 1.515
    assert "Immersion Oil, nominal" in optics.sources["immersion_index"]


def test_ome_refractive_index_beats_the_name_of_the_medium() -> None:
    optics = parse_ome(ome(lens='Immersion="Oil"', settings='RefractiveIndex="1.518"')).optics
    assert optics.immersion_index == 1.518
    assert optics.sources["immersion_index"] == "OME ObjectiveSettings RefractiveIndex"


def test_ome_wavelengths_and_pinholes_in_any_unit() -> None:
    image = parse_ome(
        ome(
            first='EmissionWavelength="0.461" EmissionWavelengthUnit="µm" PinholeSize="0.06" '
            'PinholeSizeUnit="mm" ExcitationWavelength="405"',
            second='EmissionWavelength="5200" EmissionWavelengthUnit="Å" PinholeSize="30000" '
            'PinholeSizeUnit="nm" ExcitationWavelength="488"',
        )
    )
    assert image.optics.wavelengths == pytest.approx((0.461, 0.52))
    assert image.optics.excitation_wavelengths == pytest.approx((0.405, 0.488))
    assert image.optics.pinholes == pytest.approx((1.0, 0.5))
    assert image.optics.sources["pinholes"] == "OME Channel PinholeSize / magnification 60"


def test_ome_pinhole_without_magnification_is_not_used() -> None:
    text = ome(first='PinholeSize="60"').replace('NominalMagnification="60"', "")
    image = parse_ome(text)
    assert image.optics.pinholes == ()
    assert any("magnification" in note for note in image.notes)


@pytest.mark.parametrize(
    ("mode", "modality"),
    [
        ("WideField", "widefield"),
        ("LaserScanningConfocalMicroscopy", "confocal"),
        ("SpinningDiskConfocal", "spinningdisk"),
        ("MultiPhotonMicroscopy", "twophoton"),
        ("SPIM", "lightsheet"),
        ("Other", None),
    ],
)
def test_ome_modality(mode: str, modality: str | None) -> None:
    attribute = f'AcquisitionMode="{mode}"'
    image = parse_ome(ome(first=attribute, second=attribute))
    assert image.optics.modality == modality and image.notes == []


def test_ome_modality_without_a_model_is_told() -> None:
    image = parse_ome(ome(first='AcquisitionMode="STED"'))
    assert image.optics.modality == "STED"
    assert "no PSF model" in image.notes[0]


@pytest.mark.parametrize("unit", ["pixel", "reference frame"])
def test_ome_sizes_that_are_no_lengths(unit: str) -> None:
    image = parse_ome(ome(pixels=f'PhysicalSizeX="1" PhysicalSizeXUnit="{unit}"'))
    assert image.voxel == (None, None, None)
    assert "no length" in image.notes[0]


@pytest.mark.parametrize("text", ["<OME", "<OME></OME>", "<OME><Image/></OME>"])
def test_ome_rejects(text: str) -> None:
    with pytest.raises(ValueError, match="read_stack: OME metadata must"):
        parse_ome(text)


@pytest.mark.parametrize("schema", ["2003-FC", "2011-06", "2016-06"])
def test_ome_of_any_year(schema: str) -> None:
    text = ome(pixels='PhysicalSizeX="0.1"').replace("OME/2016-06", f"OME/{schema}")
    assert parse_ome(text).voxel[2] == 0.1


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"unit": "nm", "spacing": 250.0}, (0.25, 0.1, 0.2)),
        ({"unit": "nm", "spacing": -250.0}, (0.25, 0.1, 0.2)),
        ({"unit": "nm"}, (None, 0.1, 0.2)),
        ({"unit": "pixel", "spacing": 1.0}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_imagej_voxel(
    metadata: dict[str, Any], expected: tuple[float | None, ...], tmp_path: Path
) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path,
        np.zeros((4, 5, 6), np.uint16),
        imagej=True,
        resolution=(1 / 200, 1 / 100),
        metadata={"axes": "ZYX", **metadata},
    )
    stack = read_stack(path)
    assert stack.kind == "imagej"
    assert stack.voxel == tuple(
        value if value is None else pytest.approx(value) for value in expected
    )


@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m"])
def test_imagej_spellings_of_micrometre(unit: str, tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path,
        np.zeros((4, 5, 6), np.uint16),
        imagej=True,
        resolution=(10, 10),
        metadata={"axes": "ZYX", "unit": unit, "spacing": 0.3},
    )
    stack = read_stack(path)
    assert stack.voxel == pytest.approx((0.3, 0.1, 0.1))
    assert stack.units == ("µm", "µm", "µm")


def test_imagej_frames_stay_frames(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(
        path,
        np.zeros((4, 5, 6), np.uint16),
        imagej=True,
        metadata={"axes": "TYX", "finterval": 2.5},
    )
    stack = read_stack(path)
    assert stack.axes == "TYX" and stack.data.shape == (4, 1, 1, 5, 6)
    assert stack.time_step == 2.5


@pytest.mark.parametrize(
    ("unit", "per_unit", "expected"),
    [
        ("CENTIMETER", 1e5, 0.1),
        ("INCH", 254000, 0.1),
        ("INCH", 72, None),
        ("INCH", 1200, None),
        ("NONE", 10, None),
    ],
)
def test_baseline_resolution_is_used_unless_it_is_for_print(
    unit: str, per_unit: float, expected: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path,
        np.zeros((5, 6), np.uint16),
        resolution=(per_unit, per_unit),
        resolutionunit=unit,
    )
    approximate = None if expected is None else pytest.approx(expected)
    assert read_stack(path).voxel == (None, approximate, approximate)


def test_imagej_has_no_angstrom(tmp_path: Path) -> None:
    """Its description is ASCII: such a unit is written as micrometres."""
    data = np.zeros((1, 1, 2, 3, 4), np.float32)
    like = Stack(data, "ZYX", "ZYX", voxel=(0.3, 0.1, 0.1), units=("Å", "Å", "Å"))
    write_stack(tmp_path / "out.tif", data, like=like)
    back = read_stack(tmp_path / "out.tif")
    assert back.voxel == pytest.approx((0.3, 0.1, 0.1)) and back.units == ("µm", "µm", "µm")


@pytest.mark.parametrize(
    "modality", ["widefield", "confocal", "spinningdisk", "twophoton", "lightsheet", "STED"]
)
def test_the_modality_is_written(tmp_path: Path, modality: str) -> None:
    data = np.zeros((1, 2, 2, 3, 4), np.float32)
    like = Stack(data, "CZYX", "CZYX", optics=Optics(modality=modality))
    write_stack(tmp_path / "out.ome.tif", data, like=like)
    assert read_stack(tmp_path / "out.ome.tif").optics.modality == modality
