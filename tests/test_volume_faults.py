# SPDX-License-Identifier: BSD-3-Clause
"""OME-Zarrs that are damaged, incomplete or none at all, and a full disk: each is told clearly."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otfuse.io import ChunkError, create_volume, open_volume, reopen_volume
from volumes import SHAPE, fill, numbers

pytest.importorskip("zarr", reason="OME-Zarr needs Python 3.11 and zarr 3")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    fill(tmp_path / "a.zarr", numbers((1, 2, 8, 32, 32)), chunks=(1, 1, 4, 16, 16))
    return tmp_path / "a.zarr"


def edit(path: Path, change: Any) -> None:
    """Change the attributes of a group."""
    document = json.loads((path / "zarr.json").read_text())
    change(document["attributes"])
    (path / "zarr.json").write_text(json.dumps(document))


def multiscale(attributes: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = attributes["ome"]["multiscales"][0]
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a["ome"].pop("multiscales"), "must be an OME-Zarr with multiscales"),
        (lambda a: a.update(ome={"plate": {}}), "it is a plate"),
        (lambda a: a.update(ome={"bioformats2raw.layout": 3}), "series of images"),
        (lambda a: a["ome"].update(version="0.3"), "version 0.4 or 0.5, got 0.3"),
        (lambda a: multiscale(a)["axes"][2].update(name="w"), "axes among t, c, z, y and x"),
        (lambda a: multiscale(a)["axes"][2].update(name="y"), "each axis once, got TCYYX"),
        (lambda a: multiscale(a)["axes"].pop(0), "must have a scale for each axis of CZYX, got"),
        (lambda a: multiscale(a).pop("axes"), "must name axes, datasets"),
        (lambda a: multiscale(a)["datasets"][0].update(path="9"), "no complete array '9'"),
    ],
)
def test_metadata_that_are_wrong(written: Path, change: Any, words: str) -> None:
    edit(written, change)
    with pytest.raises(ValueError, match=words):
        open_volume(written)


def test_a_scale_without_a_unit(written: Path) -> None:
    edit(written, lambda a: [axis.pop("unit", None) for axis in multiscale(a)["axes"]])
    volume = open_volume(written)
    assert volume.voxel == (None, None, None)
    assert "0.3 along z, 0.1 along y, 100 along x, is no length with a unit" in volume.notes[0]


def test_a_scale_that_is_no_length(written: Path) -> None:
    def turn(attributes: dict[str, Any]) -> None:
        steps = multiscale(attributes)["datasets"][0]["coordinateTransformations"]
        steps[0]["scale"][2] *= -1

    edit(written, turn)
    volume = open_volume(written)
    assert volume.voxel[0] is None and volume.voxel[1] == 0.1
    (note,) = volume.notes
    assert note.startswith("the file's scale, -0.3 along z, is no length with a unit: ignored")


def test_what_is_no_zarr(tmp_path: Path, written: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_volume(tmp_path / "none.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"OME-Zarr group, got no zarr\.json"):
        open_volume(tmp_path / "folder")
    with pytest.raises(ValueError, match="got an array"):
        open_volume(written / "0")
    (written / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="complete OME-Zarr"):
        open_volume(written)


def test_a_missing_chunk(written: Path) -> None:
    (written / "0/c/0/1/1/0/1").unlink()
    volume = open_volume(written)
    volume.read((0, 0))
    words = r"chunk \(0, 1, 1, 0, 1\) \(c 1:2, z 4:8, y 0:16, x 16:32\) of .* got none"
    with pytest.raises(ChunkError, match=words) as caught:
        volume.read((0, 1))
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.chunk == (0, 1, 1, 0, 1)
    assert error.start == (0, 1, 4, 0, 16) and error.stop == (1, 2, 8, 16, 32)
    filled = open_volume(written, missing="fill").read((0, 1))
    assert filled[4:8, :16, 16:].max() == 0 and filled[:4].min() >= 0


@pytest.mark.parametrize("compression", ["blosc-zstd", "none"])
@pytest.mark.parametrize("shards", [None, (1, 1, 8, 32, 32)])
def test_a_damaged_chunk(tmp_path: Path, compression: str, shards: tuple[int, ...] | None) -> None:
    data = numbers((1, 1, 8, 32, 32))
    fill(
        tmp_path / "a.zarr",
        data,
        chunks=(1, 1, 4, 16, 16),
        shards=shards,
        compression=compression,
    )
    path = tmp_path / "a.zarr/0/c/0/0" / ("1/0/0" if shards is None else "0/0/0")
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1  # one bit
    path.write_bytes(raw)
    volume = open_volume(tmp_path / "a.zarr")
    with pytest.raises(ChunkError, match="damaged data") as caught:
        volume.read((0, 0))
    bad = (0, 0, 1, 0, 0) if shards is None else caught.value.chunk
    assert caught.value.chunk == bad
    intact = volume.read((0, 0, slice(4, 8), slice(16, 32), slice(16, 32)))
    np.testing.assert_array_equal(intact, data[0, 0, 4:, 16:, 16:])


@pytest.mark.parametrize("region", [(0, 3), (0, 0, slice(0, 9)), (0,) * 6, (0, 0, slice(0, 4, 2))])
def test_regions_outside(written: Path, region: Any) -> None:
    with pytest.raises(ValueError, match=r"Volume\.read: region must"):
        open_volume(written).read(region)


def test_existing_targets(tmp_path: Path, written: Path) -> None:
    with pytest.raises(FileExistsError, match="output exists"):
        create_volume(written, SHAPE, "uint8")
    create_volume(written, SHAPE, "uint8", overwrite=True)
    assert not (written / "0/c").exists()
    folder, file = tmp_path / "photos", tmp_path / "a.txt"
    folder.mkdir()
    file.write_text("")
    with pytest.raises(FileExistsError, match="no Zarr"):
        create_volume(folder, SHAPE, "uint8", overwrite=True)
    with pytest.raises(NotADirectoryError, match="it is a file"):
        create_volume(file, SHAPE, "uint8", overwrite=True)
    with pytest.raises(FileNotFoundError, match="folder must exist"):
        create_volume(tmp_path / "no/a.zarr", SHAPE, "uint8")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"version": "0.6"}, ValueError, "version must be one of 0.4, 0.5, got '0.6'"),
        ({"compression": "zip"}, ValueError, "compression must be one of blosc-zstd"),
        ({"chunks": (4, 16, 16)}, ValueError, "chunks must be five numbers"),
        ({"shards": (1, 1, 6, 16, 16)}, ValueError, "shards must be multiples of chunks"),
        ({"shards": (1, 1, 8, 16, 16), "version": "0.4"}, ValueError, "shards must be None"),
        ({"dtype": "complex64"}, TypeError, "dtype must be of real numbers"),
        ({"shape": (1, 1, 0, 4, 4)}, ValueError, "shape must be five numbers above 0"),
    ],
)
def test_wrong_options(tmp_path: Path, options: Any, error: Any, words: str) -> None:
    given_ = {"shape": SHAPE, "dtype": "uint8", "chunks": (1, 1, 4, 16, 16), **options}
    with pytest.raises(error, match=words):
        create_volume(tmp_path / "a.zarr", **given_)


def test_writes_that_are_wrong(tmp_path: Path) -> None:
    writer = create_volume(
        tmp_path / "a.zarr", (1, 1, 6, 20, 20), "uint8", chunks=(1, 1, 4, 16, 16)
    )
    zeros = np.zeros((1, 1, 6, 20, 20), np.uint8)
    with pytest.raises(ValueError, match="whole blocks of"):
        writer.write((0, 0, slice(0, 3)), zeros[0, 0, :3])
    with pytest.raises(ValueError, match="array must have the region's extents"):
        writer.write((0, 0, slice(0, 4)), zeros[0, 0, :3])
    with pytest.raises(TypeError, match="array must be of uint8, got float32"):
        writer.write(..., zeros.astype(np.float32))
    writer.write((0, 0, slice(4, 6)), zeros[0, 0, 4:])


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = create_volume(
        tmp_path / "a.zarr", (1, 1, 4, 16, 16), "uint8", chunks=(1, 1, 2, 16, 16)
    )
    block = np.ones((2, 16, 16), np.uint8)
    writer.write((0, 0, slice(0, 2)), block)

    async def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("zarr.storage.LocalStore.set", full)
        with pytest.raises(OSError, match="disk full while writing; what is complete stays") as e:
            writer.write((0, 0, slice(2, 4)), block)
    assert e.value.errno == errno.ENOSPC and e.value.filename == str(tmp_path / "a.zarr")
    writer.write((0, 0, slice(2, 4)), block)  # there is room again
    writer.finish()
    assert open_volume(tmp_path / "a.zarr").read().min() == 1


def test_without_zarr_the_extra_is_named(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    for call in (
        lambda: open_volume(written),
        lambda: create_volume(written.with_name("b.zarr"), SHAPE, "uint8"),
        lambda: reopen_volume(written),
    ):
        with pytest.raises(RuntimeError, match=r"pip install 'otfuse\[volumes\]'"):
            call()


def test_options_of_opening(written: Path) -> None:
    with pytest.raises(ValueError, match="missing must be 'error' or 'fill'"):
        open_volume(written, missing="ignore")
    assert open_volume(written, axes="CTYX".replace("T", "Z")).axes == "CZYX"
    shutil.rmtree(written)
