# SPDX-License-Identifier: BSD-3-Clause
"""Where an OME-Zarr lies, folder or URL, and how its chunks are compressed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from zarr.abc.store import Store

COMPRESSIONS = ("blosc-zstd", "blosc-lz4", "zstd", "gzip", "none")
_LEVEL = 3
METADATA_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


def is_url(location: str | Path) -> bool:
    """Whether it is for fsspec rather than a path."""
    return "://" in str(location)


def is_zarr(location: str | Path) -> bool:
    """Whether it is read as a Zarr: a URL, a folder, or a name that ends in `.zarr`."""
    return is_url(location) or named_zarr(location) or Path(location).is_dir()


def named_zarr(location: str | Path) -> bool:
    """Whether a name is that of a Zarr."""
    return str(location).rstrip("/").lower().endswith(".zarr")


def local_path(location: str | Path) -> Path | None:
    """The folder, of a path or a `file://` URL; None of other URLs."""
    text = str(location)
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return None if is_url(text) else Path(text)


def check_zarr(function: str) -> None:
    """Say which extra is missing, if it is."""
    try:
        import zarr
    except ImportError:
        raise RuntimeError(
            f"{function}: OME-Zarr must be read and written by the package zarr, got none; "
            "pip install 'otfuse[volumes]' (Python 3.11 or newer)"
        ) from None
    if int(zarr.__version__.split(".")[0]) < 3:
        raise RuntimeError(
            f"{function}: the package zarr must be version 3 or newer, got {zarr.__version__}; "
            "pip install 'otfuse[volumes]' (Python 3.11 or newer)"
        )


def open_store(function: str, location: str | Path, *, read_only: bool) -> Store:
    """The store at a path or URL.

    Raises
    ------
    FileNotFoundError  if there is no such folder and it is to be read.
    RuntimeError  if zarr, or what fsspec needs for a URL, is not installed.
    ValueError  if nothing knows the URL's protocol.
    """
    check_zarr(function)
    from zarr.storage import FsspecStore, LocalStore

    folder = local_path(location)
    if folder is not None:
        if read_only:
            folder.stat()  # the plain OSError of what is missing or not ours to read
        return LocalStore(folder, read_only=read_only)
    try:
        return FsspecStore.from_url(str(location).rstrip("/"), read_only=read_only)
    except ImportError as error:
        raise RuntimeError(
            f"{function}: location must have its protocol's package installed, got {location} "
            f"({error})"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"{function}: location must be a path or a URL that fsspec knows, got {location} "
            f"({error})"
        ) from None


def refusing_holes(store: Store) -> Store:
    """The same store, except that chunks it does not have are errors and not zeros."""
    from zarr.storage import WrapperStore

    class Refusing(WrapperStore[Any]):
        async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            value = await self._store.get(key, *args, **kwargs)
            if value is None and key.rpartition("/")[2] not in METADATA_FILES:
                raise FileNotFoundError(f"{key} is missing")
            return value

    return Refusing(store)


def codecs_of(compression: str, version: str) -> dict[str, Any]:
    """What `create_array` is told of a compression.

    In the newer format every chunk ends in its CRC-32C, so that damage never passes for data.
    """
    if version == "0.4":
        return {"compressors": _codec_v2(compression)}
    from zarr import codecs

    name, _, inner = compression.partition("-")
    packer: Any = inner or "zstd"
    chosen: dict[str, list[Any]] = {
        "blosc": [codecs.BloscCodec(cname=packer, clevel=_LEVEL, shuffle="shuffle")],
        "zstd": [codecs.ZstdCodec(level=_LEVEL)],
        "gzip": [codecs.GzipCodec(level=_LEVEL)],
        "none": [],
    }
    return {"compressors": [*chosen[name], codecs.Crc32cCodec()]}


def _codec_v2(compression: str) -> Any:
    import numcodecs

    name, _, inner = compression.partition("-")
    if name == "blosc":
        return numcodecs.Blosc(cname=inner, clevel=_LEVEL, shuffle=numcodecs.Blosc.SHUFFLE)
    if name == "none":
        return None
    return numcodecs.Zstd(_LEVEL) if name == "zstd" else numcodecs.GZip(_LEVEL)


def compression_of(array: Any) -> str:
    """Name of what an array's chunks are compressed with, for a report."""
    names = []
    for codec in array.compressors:
        name = getattr(codec, "codec_id", "") or type(codec).__name__.removesuffix("Codec").lower()
        inner = getattr(codec, "cname", "")
        names.append(f"{name}-{getattr(inner, 'value', inner)}" if inner else name)
    return ", ".join(name for name in names if name != "crc32c") or "none"
