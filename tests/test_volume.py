# SPDX-License-Identifier: BSD-3-Clause
"""Volumes that stay in their file: OME-Zarr written, read back, checked by others."""

from __future__ import annotations

import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from otfuse.io import (
    create_volume,
    find_provenance,
    open_volume,
    provenance,
    read_stack,
    reopen_volume,
    write_stack,
)
from otfuse.io.pyramid import plan_levels, shrink
from volumes import OPTICS, SHAPE, blocks, fill, numbers

zarr = pytest.importorskip("zarr", reason="OME-Zarr needs Python 3.11 and zarr 3")


@pytest.mark.parametrize(
    ("version", "shards", "compression"),
    [
        ("0.5", None, "blosc-zstd"),
        ("0.5", (1, 2, 8, 256, 32), "zstd"),
        ("0.5", None, "none"),
        ("0.4", None, "blosc-lz4"),
        ("0.4", None, "gzip"),
    ],
)
def test_written_and_read(
    tmp_path: Path, version: str, shards: tuple[int, ...] | None, compression: str
) -> None:
    data = numbers()
    fill(tmp_path / "a.zarr", data, version=version, shards=shards, compression=compression)
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.shape == SHAPE and volume.dtype == np.uint16
    assert volume.axes == "TCZYX" and volume.format == f"OME-Zarr {version}"
    assert volume.voxel == (0.3, 0.1, 0.1) and volume.units == ("µm", "µm", "nm")
    assert volume.time_step == 2.5 and volume.channel_names == ("DAPI", "GFP")
    assert volume.optics == OPTICS and volume.description == "from the microscope"
    assert volume.chunks == (1, 1, 4, 128, 16) and volume.compression == compression
    assert (volume.shards is None) == (shards is None)
    np.testing.assert_array_equal(volume.read(), data)
    np.testing.assert_array_equal(volume.read((1, 0, slice(1, 4), 7)), data[1, 0, 1:4, 7])
    np.testing.assert_array_equal(volume.data[:, 1], data[:, 1])
    assert volume.levels == (SHAPE, (2, 2, 5, 150, 20))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    expected = shrink(data, (1, 1, 1, 2, 2))  # z is three times as coarse
    np.testing.assert_array_equal(group["1"][:], expected)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_others_take_it_for_an_ome_zarr(tmp_path: Path, version: str) -> None:
    models = pytest.importorskip("ome_zarr_models")
    fill(tmp_path / "a.zarr", numbers(), version=version)
    image = models.open_ome_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"), version=version)
    entry = image.attributes.ome if version == "0.5" else image.attributes
    multiscale = entry.multiscales[0]
    units = [axis.unit for axis in multiscale.axes]
    assert units == ["second", None, "micrometer", "micrometer", "nanometer"]
    first, second = multiscale.datasets
    assert first.coordinateTransformations[0].scale == [2.5, 1, 0.3, 0.1, 100]
    assert second.coordinateTransformations[0].scale == [2.5, 1, 0.3, 0.2, 200]
    assert second.coordinateTransformations[1].translation == [0, 0, 0, 0.05, 50]
    assert "DAPI" in str(entry.omero) and "GFP" in str(entry.omero)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_ome_zarr_library_reads_it(tmp_path: Path, version: str) -> None:
    ome_zarr_io = pytest.importorskip("ome_zarr.io")
    from ome_zarr.reader import Reader

    data = numbers()
    fill(tmp_path / "a.zarr", data, version=version)
    location = ome_zarr_io.parse_url(str(tmp_path / "a.zarr"))
    assert location is not None and location.exists()
    node = next(iter(Reader(location)()))
    assert [axis["name"] for axis in node.metadata["axes"]] == ["t", "c", "z", "y", "x"]
    assert node.metadata["axes"][2]["unit"] == "micrometer"
    assert [level.shape for level in node.data] == [SHAPE, (2, 2, 5, 150, 20)]
    np.testing.assert_array_equal(np.asarray(node.data[0]), data)


def test_provenance_is_kept_over_generations(tmp_path: Path) -> None:
    record = provenance(command="convert")
    data = numbers((1, 1, 2, 8, 8))
    fill(tmp_path / "a.zarr", data, provenance=record, chunks=(1, 1, 1, 8, 8))
    volume = open_volume(tmp_path / "a.zarr")
    assert find_provenance(volume.description) == record
    assert "from the microscope" in volume.description
    assert volume.axes == "ZYX"  # extents of 1 are dropped, as for TIFF
    write_stack(tmp_path / "a.tif", volume.read(), like=volume)
    assert volume.description in read_stack(tmp_path / "a.tif").description


def test_a_url(tmp_path: Path) -> None:
    data = numbers((1, 2, 3, 40, 30))
    fill("memory://here/a.zarr", data, chunks=(1, 1, 2, 16, 16))
    volume = open_volume("memory://here/a.zarr")
    np.testing.assert_array_equal(volume.read((0, 1)), data[0, 1])
    with pytest.raises(FileExistsError, match="output exists"):
        create_volume("memory://here/a.zarr", data.shape, "uint16")
    with pytest.raises(ValueError, match=r"no zarr\.json"):
        open_volume("memory://here/b.zarr")
    with pytest.raises(ValueError, match="fsspec knows"):
        open_volume("nonsense://here/b.zarr")
    fill(f"file://{tmp_path}/a%20b.zarr", data)
    np.testing.assert_array_equal(open_volume(tmp_path / "a b.zarr").read(), data)


def test_over_http(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    data = numbers((1, 1, 3, 40, 30))
    fill(tmp_path / "a.zarr", data, chunks=(1, 1, 2, 16, 16))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        volume = open_volume(f"http://127.0.0.1:{server.server_port}/a.zarr")
        np.testing.assert_array_equal(volume.read((0, 0, slice(1, 3))), data[0, 0, 1:3])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 4}])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff(tmp_path: Path, options: dict[str, Any], order: Any) -> None:
    data = numbers((3, 2, 4, 11, 9))
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=order) as tif:
        tif.write(data, metadata={"axes": "TCZYX"}, photometric="minisblack", **options)
    volume = open_volume(tmp_path / "a.tif")
    assert volume.shape == data.shape and volume.format == "plain TIFF"
    assert volume.chunks == (1, 1, 1, 11, 9)
    np.testing.assert_array_equal(volume.read(), data)
    region = (2, slice(0, 2), slice(1, 3), slice(2, 9), 4)
    np.testing.assert_array_equal(volume.read(region), data[region])
    assert volume.read(region).dtype.isnative


def test_a_damaged_page_of_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers((4, 32, 32)), compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[2].dataoffsets[0]
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 60] = bytes(60)
    path.write_bytes(raw)
    volume = open_volume(path)
    volume.read((0, 0, 1))
    with pytest.raises(ValueError, match=r"complete TIFF file, got .*a\.tif"):
        volume.read((0, 0, 2))


def test_pickled_it_is_opened_again(tmp_path: Path) -> None:
    data = numbers((1, 1, 4, 16, 16))
    writer = create_volume(tmp_path / "a.zarr", data.shape, "uint16", chunks=(1, 1, 2, 16, 16))
    other = pickle.loads(pickle.dumps(writer))
    other.write((0, 0, slice(2, 4)), data[0, 0, 2:])
    writer.write((0, 0, slice(0, 2)), data[0, 0, :2])
    writer.finish()
    volume = pickle.loads(pickle.dumps(open_volume(tmp_path / "a.zarr", missing="fill")))
    np.testing.assert_array_equal(volume.read(), data)
    assert volume.options == {"axes": None, "missing": "fill"}


def test_levels_appear_as_chunks_complete(tmp_path: Path) -> None:
    data = numbers((1, 1, 1, 1024, 520))
    writer = create_volume(tmp_path / "a.zarr", data.shape, "uint16", chunks=(1, 1, 1, 128, 128))
    assert [shape[-2:] for shape in writer.levels] == [(1024, 520), (512, 260), (256, 130)]
    for where in list(blocks(writer))[:10]:  # two rows of five
        writer.write(where, data[where])
    row = [(0, 0, 0, 0, 0), (0, 0, 0, 0, 1), (0, 0, 0, 0, 2)]
    assert [block for block in row if block in writer.pending(1)] == []
    assert (0, 0, 0, 1, 0) in writer.pending(1) and len(writer.pending(2)) == 4
    again = reopen_volume(tmp_path / "a.zarr")  # another run goes on
    for where in list(blocks(again))[10:]:
        again.write(where, data[where])
    assert again.pending(1) == row  # it was not told of the first rows
    again.finish()
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    half = shrink(data, (1, 1, 1, 2, 2))
    np.testing.assert_array_equal(group["1"][:], half)
    np.testing.assert_array_equal(group["2"][:], shrink(half, (1, 1, 1, 2, 2)))
    with pytest.raises(ValueError, match="not finished"):
        reopen_volume(tmp_path / "a.zarr")


def test_unfinished_it_is_no_image(tmp_path: Path) -> None:
    create_volume(tmp_path / "a.zarr", (1, 1, 2, 8, 8), "uint8")
    with pytest.raises(ValueError, match=r"multiscales, got .*a\.zarr; its writing has not"):
        open_volume(tmp_path / "a.zarr")


@given(
    n=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    step=st.tuples(*[st.sampled_from([1, 2])] * 3),
)
def test_means_of_pairs(n: tuple[int, int, int], step: tuple[int, int, int]) -> None:
    block = np.random.default_rng(1).random(n)
    expected = np.empty([-(-a // s) for a, s in zip(n, step, strict=True)])
    for place in np.ndindex(*expected.shape):
        part = tuple(slice(i * s, i * s + s) for i, s in zip(place, step, strict=True))
        expected[place] = block[part].mean()
    np.testing.assert_allclose(shrink(block, step), expected, rtol=1e-12)


def test_levels_become_isotropic() -> None:
    shapes, factors = plan_levels((1, 2, 100, 2000, 1500), (0.4, 0.1, 0.1))
    assert shapes == [
        (1, 2, 100, 2000, 1500),
        (1, 2, 100, 1000, 750),
        (1, 2, 100, 500, 375),
        (1, 2, 50, 250, 188),
    ]
    assert factors[-1] == (1, 1, 2, 8, 8)
    assert plan_levels((1, 1, 1, 20, 20), (None, None, None)) == (
        [(1, 1, 1, 20, 20)],
        [(1, 1, 1, 1, 1)],
    )
