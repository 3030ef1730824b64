# SPDX-License-Identifier: BSD-3-Clause
"""Opening OME-Zarr images; a chunk that is missing or damaged is named."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from otfuse.io.axes import CANONICAL, interpret_axes
from otfuse.io.provenance import describe
from otfuse.io.units import to_micrometres, to_seconds
from otfuse.io.volume import ChunkError, Extents, LazyPixels, Volume
from otfuse.io.zarr_meta import Multiscale, parse_multiscale, parse_optics, symbol_of
from otfuse.io.zarr_store import compression_of, local_path, open_store, refusing_holes


def open_zarr(location: str, *, axes: str | None = None, missing: str = "error") -> Volume:
    """Open an OME-Zarr image; see `open_volume`."""
    group = open_group("open_volume", location, holes=missing == "fill")
    attributes = dict(group.attrs)
    found = parse_multiscale(attributes, location)
    arrays = [_array(group, path, location) for path in found.paths]
    full = arrays[0]
    if full.dtype.kind not in "buif":
        raise TypeError(f"open_volume: image must be of real numbers, got {full.dtype}")
    for array in arrays:
        if array.ndim != len(found.axes):
            raise ValueError(
                f"open_volume: OME-Zarr metadata must name the axes of its arrays, got "
                f"{found.axes} for extents {array.shape} in {location}"
            )
    letters, notes = interpret_axes(found.axes, full.shape, axes)
    own = attributes.get("otfuse", {})
    record, text = own.get("provenance"), str(own.get("description", ""))
    shards = getattr(full, "shards", None)
    volume = Volume(
        LazyPixels(_Reader(full, letters, location), letters, full.shape, full.dtype),
        letters.replace("-", ""),
        found.axes,
        optics=parse_optics(own),
        description=describe(record, text) if record else text,
        kind="zarr",
        path=local_path(location),
        voxel_source="OME-Zarr metadata",
        notes=notes,
        location=location,
        chunks=_canonical(letters, full.chunks),
        shards=None if shards is None else _canonical(letters, shards),
        levels=tuple(_canonical(letters, array.shape) for array in arrays),
        version=found.version,
        compression=compression_of(full),
        options={"axes": axes, "missing": missing},
    )
    _add_sizes(volume, found)
    if found.names:
        _add_names(volume, found.names)
    return volume


def open_group(function: str, location: str, *, holes: bool = True) -> Any:
    """The group at a path or URL, to be read.

    Parameters
    ----------
    function : str
        Named in errors.
    location : str
    holes : bool
        Whether chunks may be missing.
    """
    store = open_store(function, location, read_only=True)
    import zarr
    from zarr.errors import ContainsArrayError, GroupNotFoundError

    try:
        return zarr.open_group(store if holes else refusing_holes(store), mode="r")
    except GroupNotFoundError:
        raise ValueError(
            f"{function}: image must be an OME-Zarr group, got no zarr.json or .zgroup in "
            f"{location}"
        ) from None
    except ContainsArrayError:
        raise ValueError(
            f"{function}: image must be an OME-Zarr group, got an array, {location}; give the "
            "group that holds it and its metadata"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{function}: image must be a complete OME-Zarr, got {location} ({error})"
        ) from None


def _array(group: Any, path: str, location: str) -> Any:
    try:
        array = group[path]
        array.chunks  # noqa: B018  a group has none
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ValueError(
            f"open_volume: OME-Zarr must hold the arrays that its metadata name, got no complete "
            f"array {path!r} in {location} ({error})"
        ) from None
    return array


def _canonical(letters: str, extents: Sequence[int], default: int = 1) -> Extents:
    by_letter = dict(zip(letters, extents, strict=True))
    nt, nc, nz, ny, nx = (int(by_letter.get(letter, default)) for letter in CANONICAL)
    return nt, nc, nz, ny, nx


def _add_sizes(volume: Volume, found: Multiscale) -> None:
    """Voxel size and time step; a scale without a unit is worth a note."""
    sizes: dict[str, float | None] = {}
    units = {"Z": "µm", "Y": "µm", "X": "µm"}
    bare = []
    for letter, scale, unit in zip(found.axes, found.scale, found.units, strict=True):
        if letter in units:
            sizes[letter] = None if unit is None else to_micrometres(scale, unit)
            units[letter] = symbol_of(unit)
            if sizes[letter] is None and scale != 1:
                bare.append(f"{scale:g} along {letter.lower()}")
        elif letter == "T" and unit is not None:
            volume.time_step = to_seconds(scale, unit)
    if bare:
        volume.notes.append(
            f"the file's scale, {', '.join(bare)}, is no length with a unit: ignored; give --voxel"
        )
    volume.voxel = (sizes.get("Z"), sizes.get("Y"), sizes.get("X"))
    volume.units = (units["Z"], units["Y"], units["X"])


def _add_names(volume: Volume, names: tuple[str, ...]) -> None:
    if len(names) == volume.shape[1]:
        volume.channel_names = names
    else:
        volume.notes.append(
            f"the file names {len(names)} channels and holds {volume.shape[1]}: names ignored"
        )


class _Reader:
    """Regions of one array; an error names the chunk that caused it."""

    def __init__(self, array: Any, letters: str, location: str) -> None:
        self._array, self._letters, self._location = array, letters, location

    def __call__(self, region: tuple[slice, ...]) -> Any:
        try:
            return self._array[region]
        except MemoryError:
            raise
        except Exception as error:
            self._name_chunk(region)
            raise OSError(f"Volume.read: {self._location} could not be read ({error})") from error

    def _name_chunk(self, region: tuple[slice, ...]) -> None:
        """Try the chunks of a region one by one and tell which is at fault."""
        array = self._array
        cells = [
            range(part.start // n, -(-part.stop // n))
            for part, n in zip(region, array.chunks, strict=True)
        ]
        for cell in product(*cells):
            start = [i * n for i, n in zip(cell, array.chunks, strict=True)]
            stop = [min(a + n, e) for a, n, e in zip(start, array.chunks, array.shape, strict=True)]
            try:
                array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
            except Exception as error:
                raise self._fault(cell, start, stop, error) from error

    def _fault(
        self, cell: tuple[int, ...], start: list[int], stop: list[int], error: Exception
    ) -> ChunkError:
        voxels = ", ".join(
            f"{letter.lower()} {a}:{b}"
            for letter, a, b in zip(self._letters, start, stop, strict=True)
            if letter != "-"
        )
        if isinstance(error, FileNotFoundError):
            reason = (
                "none; where the writer left out chunks of zeros, allow it with missing='fill' "
                "(otfuse convert --missing fill)"
            )
        else:
            reason = f"damaged data ({' '.join(str(error).split())}); copy it from its source again"
        return ChunkError(
            f"Volume.read: chunk {cell} ({voxels}) of {self._location} must be readable, "
            f"got {reason}",
            cell,
            _canonical(self._letters, start, 0),
            _canonical(self._letters, stop),
        )
