# SPDX-License-Identifier: BSD-3-Clause
"""OME-XML: voxel size, channels and optics of a file, and the XML that a result is written with."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otfuse.io.stack import Optics, Stack, Voxel
from otfuse.io.units import micrometres_per, to_micrometres, to_seconds

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_UNPRINTABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not XML
_MODALITIES = {
    "WideField": "widefield",
    "LaserScanningConfocalMicroscopy": "confocal",
    "SpinningDiskConfocal": "spinningdisk",
    "SlitScanConfocal": "confocal",
    "MultiPhotonMicroscopy": "twophoton",
    "SPIM": "lightsheet",
}
# Of several words for a kind the first.
_MODES = {kind: mode for mode, kind in reversed(_MODALITIES.items())}
# Nominal indices of the media at 23 degrees and 546 nm; used only where the file has no number.
_IMMERSION_INDEX = {
    "Oil": 1.515, "Water": 1.333, "WaterDipping": 1.333, "Glycerol": 1.47, "Glycerine": 1.47,
    "Air": 1.0,
}  # fmt: skip


@dataclass
class OmeImage:
    """What the OME-XML of a file says about its first image."""

    voxel: Voxel = (None, None, None)
    units: tuple[str, str, str] = ("µm", "µm", "µm")
    channel_names: tuple[str, ...] = ()
    optics: Optics = field(default_factory=Optics)
    time_step: float | None = None
    description: str = ""
    notes: list[str] = field(default_factory=list)


def parse_ome(xml: str) -> OmeImage:
    """Read the first image of an OME-XML document, all lengths converted to micrometres.

    Parameters
    ----------
    xml : str
        OME-XML of any schema version.

    Raises
    ------
    ValueError  if the document is not XML or holds no image with pixels.
    """
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"read_stack: OME metadata must be XML, got {error}") from error
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    image, pixels = root.find("Image"), root.find("Image/Pixels")
    if image is None or pixels is None:
        raise ValueError("read_stack: OME metadata must describe an image, got none")
    notes: list[str] = []
    voxel, units = _voxel(pixels, notes)
    step = _number(pixels, "TimeIncrement")
    channels = pixels.findall("Channel")
    names = tuple(channel.get("Name", "") for channel in channels)
    description = image.findtext("Description") or ""
    return OmeImage(
        voxel=voxel,
        units=units,
        channel_names=names if any(names) else (),
        optics=_optics(root, image, channels, notes),
        time_step=None if step is None else to_seconds(step, pixels.get("TimeIncrementUnit", "s")),
        description=description,
        notes=notes,
    )


def _number(element: Element, name: str) -> float | None:
    try:
        value = float(element.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _length(element: Element, name: str, default_unit: str, notes: list[str]) -> float | None:
    """A length attribute in micrometres; a unit without a physical length is worth a note."""
    value = _number(element, name)
    if value is None:
        return None
    unit = element.get(name + "Unit", default_unit)
    if micrometres_per(unit) is None:
        notes.append(f"{name} in the file is in {unit!r}, which is no length: ignored")
    elif value <= 0:
        notes.append(f"{name} in the file is {value:g}: ignored")
    return to_micrometres(value, unit)


def _voxel(pixels: Element, notes: list[str]) -> tuple[Voxel, tuple[str, str, str]]:
    z, y, x = (_length(pixels, f"PhysicalSize{axis}", "µm", notes) for axis in "ZYX")
    units = tuple(pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX")
    known = tuple("µm" if micrometres_per(unit) is None else unit for unit in units)
    return (z, y, x), (known[0], known[1], known[2])


def _optics(root: Element, image: Element, channels: list[Element], notes: list[str]) -> Optics:
    optics = Optics()
    _read_objective(optics, root, image)
    _read_modality(optics, channels, notes)
    for name, attribute, unit in (
        ("wavelengths", "EmissionWavelength", "nm"),
        ("excitation_wavelengths", "ExcitationWavelength", "nm"),
    ):
        values = tuple(_length(channel, attribute, unit, notes) for channel in channels)
        if any(values):
            setattr(optics, name, values)
            optics.sources[name] = f"OME Channel {attribute}"
    _read_pinholes(optics, channels, notes)
    return optics


def _read_objective(optics: Optics, root: Element, image: Element) -> None:
    settings = image.find("ObjectiveSettings")
    objectives = root.findall("Instrument/Objective")
    wanted = None if settings is None else settings.get("ID")
    chosen = [o for o in objectives if o.get("ID") == wanted]
    if not chosen and settings is None and len(objectives) == 1:
        chosen = objectives
    found: dict[str, tuple[float | None, str]] = {}
    if chosen:
        lens = chosen[0]
        immersion = lens.get("Immersion", "")
        found["na"] = _number(lens, "LensNA"), "OME Objective LensNA"
        found["immersion_index"] = (
            _IMMERSION_INDEX.get(immersion), f"OME Objective Immersion {immersion}, nominal index"
        )  # fmt: skip
        for name in ("NominalMagnification", "CalibratedMagnification"):
            if _number(lens, name):
                found["magnification"] = _number(lens, name), f"OME Objective {name}"
    if settings is not None and _number(settings, "RefractiveIndex"):
        index = _number(settings, "RefractiveIndex")
        found["immersion_index"] = index, "OME ObjectiveSettings RefractiveIndex"
    for name, (value, source) in found.items():
        if value is not None and value > 0:
            setattr(optics, name, value)
            optics.sources[name] = source


def _read_modality(optics: Optics, channels: list[Element], notes: list[str]) -> None:
    modes = {channel.get("AcquisitionMode", "") for channel in channels} - {"", "Other"}
    modalities = {_MODALITIES.get(mode) for mode in modes}
    if len(modalities) == 1 and None not in modalities:
        optics.modality = modalities.pop()
        optics.sources["modality"] = f"OME Channel AcquisitionMode {sorted(modes)[0]}"
    elif modes:
        # Kept under its own name, so that a PSF model is refused rather than a wrong one chosen.
        optics.modality = ", ".join(sorted(modes))
        optics.sources["modality"] = f"OME Channel AcquisitionMode {', '.join(sorted(modes))}"
        notes.append(
            f"the file says AcquisitionMode {', '.join(sorted(modes))}, for which there is no "
            "PSF model"
        )


def _read_pinholes(optics: Optics, channels: list[Element], notes: list[str]) -> None:
    """OME holds the pinhole as it is cut; over the magnification it is what the specimen sees."""
    sizes = tuple(_length(channel, "PinholeSize", "µm", notes) for channel in channels)
    if not any(sizes):
        return
    if optics.magnification is None:
        notes.append("PinholeSize in the file needs the magnification, which is missing: ignored")
        return
    scale = optics.magnification
    optics.pinholes = tuple(None if size is None else size / scale for size in sizes)
    optics.sources["pinholes"] = f"OME Channel PinholeSize / magnification {scale:g}"


def build_ome(
    shape: tuple[int, ...], dtype: str, like: Stack, description: str, name: str
) -> bytes:
    """OME-XML of one image whose planes are stored as (t, c, z), with `like`'s voxels and optics.

    Parameters
    ----------
    shape : (nt, nc, nz, ny, nx)
    dtype : str
        One of `otfuse.io.write.OME_DTYPES`.
    like : Stack
        Gives voxel size, units, channel names, optics and time step; its pixels are not used.
    description : str
    name : str
        Name of the image, usually the file's.
    """
    from xml.etree import ElementTree

    nt, nc, nz, ny, nx = shape
    root = ElementTree.Element("OME", {"xmlns": _SCHEMA})
    has_lens = _add_objective(root, like.optics)
    image = ElementTree.SubElement(root, "Image", ID="Image:0", Name=_UNPRINTABLE.sub("", name))
    ElementTree.SubElement(image, "Description").text = _UNPRINTABLE.sub("", description)
    if has_lens:
        ElementTree.SubElement(image, "InstrumentRef", ID="Instrument:0")
        lens = ElementTree.SubElement(image, "ObjectiveSettings", ID="Objective:0")
        if like.optics.immersion_index is not None:
            lens.set("RefractiveIndex", f"{like.optics.immersion_index:.10g}")
    sizes = {f"Size{axis}": str(n) for axis, n in zip("XYZCT", (nx, ny, nz, nc, nt), strict=True)}
    pixel_type = {"float32": "float", "float64": "double"}.get(dtype, dtype)
    pixels = ElementTree.SubElement(
        image,
        "Pixels",
        {"ID": "Pixels:0", "DimensionOrder": "XYZCT", "Type": pixel_type, **sizes},
    )
    _set_sizes(pixels, like)
    for channel in range(nc):
        ElementTree.SubElement(pixels, "Channel", _channel(channel, like))
    ElementTree.SubElement(pixels, "TiffData", IFD="0", PlaneCount=str(nt * nc * nz))
    text: Any = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return bytes(text)


def _add_objective(root: Element, optics: Optics) -> bool:
    from xml.etree import ElementTree

    attributes = {
        "LensNA": optics.na,
        "NominalMagnification": optics.magnification,
    }
    given = {key: f"{value:.10g}" for key, value in attributes.items() if value is not None}
    if not given and optics.immersion_index is None:
        return False
    instrument = ElementTree.SubElement(root, "Instrument", ID="Instrument:0")
    ElementTree.SubElement(instrument, "Objective", {"ID": "Objective:0", **given})
    return True


def _set_sizes(pixels: Element, like: Stack) -> None:
    for axis, size, unit in zip("ZYX", like.voxel, like.units, strict=True):
        scale = micrometres_per(unit)
        if size is not None and scale is not None:
            pixels.set(f"PhysicalSize{axis}", f"{size / scale:.10g}")
            pixels.set(f"PhysicalSize{axis}Unit", unit)
    if like.time_step is not None:
        pixels.set("TimeIncrement", f"{like.time_step:.10g}")
        pixels.set("TimeIncrementUnit", "s")


def _channel(channel: int, like: Stack) -> dict[str, str]:
    optics = like.optics
    entry = {"ID": f"Channel:0:{channel}", "SamplesPerPixel": "1"}
    if channel < len(like.channel_names) and like.channel_names[channel]:
        entry["Name"] = _UNPRINTABLE.sub("", like.channel_names[channel])
    # One for which there is no model is kept under the file's own name.
    mode = _MODES.get(optics.modality or "", optics.modality)
    if mode and mode.isalpha():  # not several
        entry["AcquisitionMode"] = mode
    for name, values in (
        ("EmissionWavelength", optics.wavelengths),
        ("ExcitationWavelength", optics.excitation_wavelengths),
        ("PinholeSize", optics.pinholes),
    ):
        value = values[channel] if channel < len(values) else None
        if value is None or (name == "PinholeSize" and optics.magnification is None):
            continue
        scale, unit = (optics.magnification or 1, "µm") if name == "PinholeSize" else (1000, "nm")
        entry[name], entry[name + "Unit"] = f"{value * scale:.10g}", unit
    return entry
