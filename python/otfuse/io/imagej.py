# SPDX-License-Identifier: BSD-3-Clause
"""ImageJ's description of a hyperstack, and the resolution tags of plain files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from otfuse.io.stack import Voxel
from otfuse.io.units import micrometres_per, to_micrometres

# No scan or print resolution is finer than this, no microscope's camera pixel coarser.
_COARSEST_PIXEL = 10.0
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}


def imagej_voxel(
    metadata: Mapping[str, Any], resolution: tuple[float | None, float | None]
) -> tuple[Voxel, tuple[str, str, str], list[str]]:
    """Voxel size (z, y, x) in micrometres, the units it was written in, and notes.

    Parameters
    ----------
    metadata : mapping
        ImageJ's description as tifffile parses it: `unit`, `yunit`, `zunit`, `spacing`.
    resolution : (float or None, float or None)
        Pixels per unit along y and x.
    """
    unit = str(metadata.get("unit", "pixel"))
    units = [str(metadata.get("zunit", unit)), str(metadata.get("yunit", unit)), unit]
    sizes = [_float(metadata.get("spacing"))]
    sizes += [1.0 / value if value else None for value in resolution]
    if sizes[0] is not None:
        sizes[0] = abs(sizes[0])  # ImageJ writes a negative spacing for stacks taken downwards
    voxel = [
        None if size is None else to_micrometres(size, axis_unit)
        for size, axis_unit in zip(sizes, units, strict=True)
    ]
    notes = []
    if micrometres_per(unit) is None and unit.strip().lower() not in ("pixel", "pixels", ""):
        notes.append(f"the voxel size in the file is in {unit!r}, which is no length: ignored")
    known = ["µm" if micrometres_per(u) is None else _readable(u) for u in units]
    return (voxel[0], voxel[1], voxel[2]), (known[0], known[1], known[2]), notes


def imagej_channel_names(labels: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Slice labels that name the channel: one text per channel, the same in every plane of it.

    Parameters
    ----------
    labels : list of str
        ImageJ's slice labels, in its order (t, z, c).
    shape : tuple of int
        Extents (nt, nc, nz).
    """
    nt, nc, nz = shape
    if not isinstance(labels, list) or len(labels) != nt * nc * nz:
        return ()
    names = []
    for channel in range(nc):
        found = {str(label).strip() for label in labels[channel::nc]}
        if len(found) != 1:
            return ()
        names.append(found.pop())
    return tuple(names) if any(names) else ()


def plain_pixel_size(
    unit: int, resolution: tuple[float | None, float | None]
) -> tuple[float | None, float | None]:
    """Pixel size (y, x) in micrometres from the baseline tags, None where they are for print.

    Parameters
    ----------
    unit : int
        TIFF ResolutionUnit: 2 inch, 3 centimetre.
    resolution : (float or None, float or None)
        Pixels per unit along y and x.
    """
    name = _RESOLUTION_UNITS.get(unit)
    if name is None or not all(resolution):
        return None, None
    sizes = [to_micrometres(1.0 / value, name) for value in resolution if value]
    if any(size is None or size > _COARSEST_PIXEL for size in sizes):
        return None, None
    return sizes[0], sizes[1]


def resolution_tags(tags: Any) -> tuple[float | None, float | None]:
    """Pixels per unit along (y, x), None where the tag is missing or not a positive number."""
    values: list[float | None] = []
    for name in ("YResolution", "XResolution"):
        tag = tags.get(name)
        pair = tag.value if tag is not None else (0, 1)
        if not isinstance(pair, tuple) or len(pair) != 2 or not pair[0] or not pair[1]:
            values.append(None)
        else:
            values.append(pair[0] / pair[1])
    return values[0], values[1]


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number else None


def _readable(unit: str) -> str:
    return "µm" if micrometres_per(unit) == 1.0 else unit
