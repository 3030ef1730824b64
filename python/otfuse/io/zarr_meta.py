# SPDX-License-Identifier: BSD-3-Clause
"""Metadata of OME-Zarr 0.4 and 0.5: axes, units, scales, channels, and what is ours beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from otfuse.io.stack import Optics, Stack
from otfuse.io.units import micrometres_per

VERSIONS = ("0.4", "0.5")
AXES = "TCZYX"
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
# OME-Zarr spells units out, OME-XML and we write symbols.
_SYMBOLS = {
    "micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "centimeter": "cm", "meter": "m",
    "picometer": "pm", "angstrom": "Å", "inch": "in",
}  # fmt: skip
_WORDS = {symbol: word for word, symbol in _SYMBOLS.items()}
_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


@dataclass(frozen=True)
class Multiscale:
    """What the metadata say of an image.

    Attributes
    ----------
    axes : str
        One letter of `TCZYX` per stored axis.
    paths : tuple of str
        Of the arrays, the full resolution first.
    scale : tuple of float
        Of a voxel of the first, one per stored axis.
    units : tuple of str or None
        As they are spelled there.
    names : tuple of str
        Of the channels.
    """

    version: str
    axes: str
    paths: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str | None, ...]
    names: tuple[str, ...]


def parse_multiscale(attributes: Mapping[str, Any], location: str) -> Multiscale:
    """What the attributes of a group say, checked as far as reading depends on it.

    Raises
    ------
    ValueError  if the group is no image, of another version, or its axes are not understood.
    """
    inner = attributes.get("ome", attributes)
    if not isinstance(inner, Mapping) or not inner.get("multiscales"):
        raise ValueError(_no_image(attributes, inner, location))
    try:
        first = inner["multiscales"][0]
        version = str(inner.get("version") or first.get("version") or "0.4")
        if version not in VERSIONS:
            raise ValueError(f"must be of version 0.4 or 0.5, got {version}")
        axes = "".join(_letter(axis) for axis in first["axes"])
        if len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
            raise ValueError(f"must have the axes y and x and each axis once, got {axes}")
        datasets = first["datasets"]
        scale = [1.0] * len(axes)
        for transform in (
            *datasets[0]["coordinateTransformations"],
            *first.get("coordinateTransformations", ()),
        ):
            if transform["type"] == "scale":
                factors = [float(factor) for factor in transform["scale"]]
                if len(factors) != len(axes):
                    raise ValueError(f"must have a scale for each axis of {axes}, got {factors}")
                scale = [a * b for a, b in zip(scale, factors, strict=True)]
        return Multiscale(
            version,
            axes,
            tuple(str(dataset["path"]) for dataset in datasets),
            tuple(scale),
            tuple(axis.get("unit") for axis in first["axes"]),
            _names(inner),
        )
    except ValueError as error:
        raise ValueError(f"open_volume: OME-Zarr metadata {error} in {location}") from None
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            "open_volume: OME-Zarr metadata must name axes, datasets and their "
            f"coordinateTransformations, got {type(error).__name__} {error} in {location}"
        ) from None


def _letter(axis: Mapping[str, Any]) -> str:
    letter = str(axis["name"]).upper()
    if letter not in AXES or len(letter) != 1 or axis.get("type", _TYPES[letter]) != _TYPES[letter]:
        raise ValueError(f"must have axes among t, c, z, y and x with their types, got {axis}")
    return letter


def _names(inner: Mapping[str, Any]) -> tuple[str, ...]:
    omero = inner.get("omero") or {}
    names = tuple(str(channel.get("label", "")) for channel in omero.get("channels", ()))
    return names if any(names) else ()


def _no_image(attributes: Mapping[str, Any], inner: Any, location: str) -> str:
    """Why a group is none, and what is."""
    inner = inner if isinstance(inner, Mapping) else {}
    remedy = "give the group that holds an image"
    if "plate" in inner:
        remedy = "it is a plate: give an image in it, such as .../A/1/0"
    elif "well" in inner:
        remedy = "it is a well: give an image in it, such as .../0"
    elif "bioformats2raw.layout" in inner:
        remedy = "it holds a series of images: give one of them, such as .../0"
    elif "unfinished" in attributes.get("otfuse", {}):
        remedy = "its writing has not finished: run the command that writes it again"
    return f"open_volume: image must be an OME-Zarr with multiscales, got {location}; {remedy}"


def build_attributes(
    like: Stack,
    shapes: Sequence[Sequence[int]],
    factors: Sequence[Sequence[int]],
    *,
    version: str,
    name: str,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Attributes of the group of an image with the axes (t, c, z, y, x).

    Parameters
    ----------
    like : Stack
        Gives voxel size, units, channel names, optics, time step and description.
    shapes, factors : sequence of extents
        Of the levels, and how many voxels of the first one of theirs stands for.
    version : {"0.4", "0.5"}
    name : str
    provenance : mapping, optional
    """
    edges, axes = _axes(like)
    multiscale: dict[str, Any] = {
        "name": name,
        "axes": axes,
        "datasets": [
            {"path": str(level), "coordinateTransformations": _placed(edges, factor)}
            for level, factor in enumerate(factors)
        ],
    }
    if len(factors) > 1:
        multiscale["type"] = "mean"
        multiscale["metadata"] = {"description": "mean of 2 voxels along the axes that shrink"}
    channels = [_channel(like, c, shapes[0][1]) for c in range(shapes[0][1])]
    omero = {"channels": channels, "rdefs": {"model": "color", "defaultZ": shapes[0][2] // 2}}
    own: dict[str, Any] = {"description": like.description}
    if like.optics.sources:
        own["optics"] = {k: v for k, v in asdict(like.optics).items() if v not in (None, ())}
    if provenance:
        own["provenance"] = dict(provenance)
    if version == "0.4":
        multiscale["version"] = "0.4"
        omero["version"] = "0.4"
        return {"multiscales": [multiscale], "omero": omero, "otfuse": own}
    ome = {"version": version, "multiscales": [multiscale], "omero": omero}
    return {"ome": ome, "otfuse": own}


def _axes(like: Stack) -> tuple[list[float], list[dict[str, str]]]:
    """Edges of a voxel in their units, 1 where nothing is known, and the axes' entries."""
    axes: list[dict[str, str]] = [{"name": a.lower(), "type": _TYPES[a]} for a in AXES]
    edges = [1.0] * len(AXES)
    if like.time_step is not None:
        edges[0], axes[0]["unit"] = like.time_step, "second"
    for i, (size, symbol) in enumerate(zip(like.voxel, like.units, strict=True), start=2):
        if size is None:
            continue
        word = _WORDS.get(symbol, "micrometer")
        scale = micrometres_per(_SYMBOLS[word]) or 1.0
        edges[i], axes[i]["unit"] = float(f"{size / scale:.12g}"), word
    return edges, axes


def _placed(edges: Sequence[float], factor: Sequence[int]) -> list[dict[str, Any]]:
    """Scale of a level, and where the middle of its first voxel lies."""
    scale = [edge * f for edge, f in zip(edges, factor, strict=True)]
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(f > 1 for f in factor):
        shift = [edge * (f - 1) / 2 for edge, f in zip(edges, factor, strict=True)]
        steps.append({"type": "translation", "translation": shift})
    return steps


def _channel(like: Stack, channel: int, n_channels: int) -> dict[str, Any]:
    colour = "FFFFFF" if n_channels == 1 else _COLOURS[channel % len(_COLOURS)]
    return {"label": like.channel_label(channel), "color": colour, "active": True}


def set_windows(attributes: dict[str, Any], ranges: Sequence[tuple[float, float]]) -> None:
    """Tell viewers what to show: the lowest and highest value of each channel."""
    omero = attributes.get("ome", attributes)["omero"]
    for entry, (low, high) in zip(omero["channels"], ranges, strict=True):
        entry["window"] = {"min": low, "max": high, "start": low, "end": high}


def symbol_of(unit: str | None) -> str:
    """The symbol of a length's unit, `µm` where it has none."""
    return _SYMBOLS.get(unit or "", "µm")


def parse_optics(own: Mapping[str, Any]) -> Optics:
    """What `build_attributes` wrote of the optics."""
    found = own.get("optics", {})
    known = {part.name for part in fields(Optics)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in found.items()
        if key in known
    }
    return Optics(**values)
