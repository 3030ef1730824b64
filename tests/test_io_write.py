# SPDX-License-Identifier: BSD-3-Clause
"""Writing: metadata round trips, the dtype policy, and files that are complete or absent."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from otfuse.io import (
    Optics,
    Stack,
    check_target,
    find_provenance,
    provenance,
    read_stack,
    target,
    write,
    write_stack,
)


@pytest.fixture
def hyperstack(rng: np.random.Generator) -> Stack:
    """Two channels with names, three time points, three different voxel edges, optics."""
    optics = Optics(
        na=1.4,
        immersion_index=1.518,
        magnification=60.0,
        wavelengths=(0.461, 0.52),
        excitation_wavelengths=(0.405, 0.488),
        pinholes=(0.5, 0.6),
        modality="confocal",
    )
    return Stack(
        rng.random((3, 2, 4, 5, 7), dtype=np.float32) * 100,
        "TCZYX",
        "TCZYX",
        voxel=(0.3, 0.1, 0.11),
        units=("nm", "nm", "nm"),
        channel_names=("DAPI", "µ-tubules"),
        optics=optics,
        time_step=2.5,
        description="made at night",
    )


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
def test_round_trip(name: str, hyperstack: Stack, tmp_path: Path) -> None:
    path = tmp_path / name
    written = write_stack(path, hyperstack.data, like=hyperstack, provenance=provenance(n=1))
    back = read_stack(path)
    np.testing.assert_array_equal(back.data, hyperstack.data)
    assert set(back.axes) == set("TCZYX") and back.data.dtype == np.float32
    assert back.voxel == pytest.approx(hyperstack.voxel) and back.units == hyperstack.units
    assert back.channel_names == hyperstack.channel_names
    assert back.time_step == hyperstack.time_step
    assert "made at night" in back.description
    assert written.kind == back.kind == ("ome" if "ome" in name else "imagej")
    assert written.highest == pytest.approx(tuple(hyperstack.data.max((0, 2, 3, 4))))


def test_ome_round_trip_keeps_the_optics(hyperstack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "out.ome.tif"
    write_stack(path, hyperstack.data, like=hyperstack)
    back, expected = read_stack(path).optics, hyperstack.optics
    for name in ("na", "immersion_index", "magnification", "wavelengths", "pinholes"):
        assert getattr(back, name) == pytest.approx(getattr(expected, name))
    assert back.excitation_wavelengths == pytest.approx(expected.excitation_wavelengths)
    assert back.modality == "confocal"


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_a_result_is_of_the_kind_of_its_image(kind: str, tmp_path: Path) -> None:
    data = np.zeros((4, 5, 6), np.uint16)
    tifffile.imwrite(
        tmp_path / "in.tif", data, **{kind: True}, metadata={"axes": "ZYX", "unit": "um"}
    )
    stack = read_stack(tmp_path / "in.tif")
    assert write_stack(tmp_path / "out.tif", stack.data, like=stack).kind == kind


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 5, 6),
        (1, 1, 7, 5, 6),
        (4, 1, 1, 5, 6),
        (1, 3, 1, 5, 6),
        (1, 1, 5, 20, 3),
        (1, 1, 4, 20, 4),
        (1, 3, 20, 20, 3),
    ],
)
def test_axes_survive_whatever_their_extents(
    name: str, shape: tuple[int, ...], rng: np.random.Generator, tmp_path: Path
) -> None:
    """Three or four of anything look like colours to many readers."""
    data = rng.random(shape, dtype=np.float32)
    write_stack(tmp_path / name, data)
    back = read_stack(tmp_path / name)
    assert back.data.shape == shape
    np.testing.assert_array_equal(back.data, data)
    assert back.notes == []


def test_big_files_are_bigtiff(
    hyperstack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_CLASSIC_BYTES", 1000)
    written = write_stack(tmp_path / "out.tif", hyperstack.data, like=hyperstack)
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert tif.is_bigtiff and tif.is_ome
    assert "BigTIFF" in written.notes[0]
    np.testing.assert_array_equal(read_stack(tmp_path / "out.tif").data, hyperstack.data)


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_integers_are_scaled_by_one_stored_factor_per_channel(
    name: str, dtype: str, hyperstack: Stack, tmp_path: Path
) -> None:
    data = hyperstack.data * np.array([1.0, 5000.0], np.float32)[:, None, None, None]
    path = tmp_path / name
    written = write_stack(path, data, like=hyperstack, dtype=dtype, provenance=provenance())
    back = read_stack(path)
    assert back.data.dtype == dtype
    full = np.iinfo(dtype).max
    assert tuple(back.data.max((0, 2, 3, 4))) == (full, full)
    factors = np.array(written.factors)[:, None, None, None]
    assert np.abs(back.data - data * factors).max() <= 0.51
    record = find_provenance(back.description)
    assert record is not None and record["scale"]["dtype"] == dtype
    assert [entry["factor"] for entry in record["scale"]["factors"]] == list(written.factors)
    assert [entry["channel"] for entry in record["scale"]["factors"]] == ["DAPI", "µ-tubules"]


def test_integers_of_an_empty_channel(tmp_path: Path) -> None:
    written = write_stack(tmp_path / "o.tif", np.zeros((1, 1, 2, 3, 4), np.float32), dtype="uint16")
    assert written.factors == (1.0,)
    assert not read_stack(tmp_path / "o.tif").data.any()


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_integers_are_never_clipped(bad: float, tmp_path: Path) -> None:
    data = np.ones((1, 1, 2, 3, 4), np.float32)
    data[0, 0, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="finite and not negative for uint16"):
        write_stack(tmp_path / "out.tif", data, dtype="uint16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
def test_time_points_one_by_one(name: str, dtype: str, hyperstack: Stack, tmp_path: Path) -> None:
    whole = write_stack(tmp_path / ("w-" + name), hyperstack.data, dtype=dtype)
    blocks = (hyperstack.data[t] for t in (slice(0, 1), slice(1, 3)))
    parts = write_stack(tmp_path / ("p-" + name), blocks, dtype=dtype, shape=hyperstack.data.shape)
    assert parts.factors == whole.factors and parts.highest == whole.highest
    np.testing.assert_array_equal(read_stack(parts.path).data, read_stack(whole.path).data)


@pytest.mark.parametrize(
    ("blocks", "match"),
    [
        ([np.ones((1, 1, 2, 3, 4))], "must have 2 time points, got 1"),
        ([np.ones((3, 1, 2, 3, 4))], "must have extents"),
        ([np.ones((2, 1, 2, 3, 5))], "must have extents"),
        ([np.ones((2, 3, 4))], "must have extents"),
    ],
)
def test_rejects_blocks_of_another_shape(
    blocks: list[np.ndarray], match: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=match):
        write_stack(tmp_path / "out.tif", iter(blocks), shape=(2, 1, 2, 3, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(3, 4), (1, 1, 0, 3, 4)])
def test_rejects_empty_and_flat_data(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"extents \(t, c, z, y, x\), none of them 0"):
        write_stack(tmp_path / "out.tif", np.ones(shape))


def test_rejects_an_unknown_dtype(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype must be one of float32, uint16, uint8"):
        write_stack(tmp_path / "out.tif", np.ones((1, 1, 1, 2, 2)), dtype="int64")


def test_an_existing_file_is_kept_without_overwrite(hyperstack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "out.tif"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="overwrite"):
        write_stack(path, hyperstack.data)
    assert path.read_bytes() == b"precious"
    write_stack(path, hyperstack.data, overwrite=True)
    assert read_stack(path).data.shape == hyperstack.data.shape
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]


def test_a_file_that_appears_meanwhile_is_kept(hyperstack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "out.tif"

    def blocks() -> Iterator[np.ndarray]:
        path.write_bytes(b"precious")
        yield hyperstack.data

    with pytest.raises(FileExistsError):
        write_stack(path, blocks(), shape=hyperstack.data.shape)
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]


def test_without_hard_links_it_is_renamed(
    hyperstack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    write_stack(tmp_path / "out.tif", hyperstack.data)
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("100 requested and 7 written")],
    ids=["write", "numpy"],
)
@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_disk_full_leaves_nothing(
    name: str,
    overwrite: bool,
    error: OSError,
    hyperstack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fills up in the middle of the pixels; an older file stays as it was."""
    path = tmp_path / name
    if overwrite:
        path.write_bytes(b"precious")
    planes = write._planes

    def run_full(*arguments: Any) -> Iterator[np.ndarray]:
        for i, plane in enumerate(planes(*arguments)):
            if i == 5:
                raise error
            yield plane

    monkeypatch.setattr(write, "_planes", run_full)
    with pytest.raises(OSError, match="disk full while writing; nothing was left behind") as info:
        write_stack(path, hyperstack.data, overwrite=overwrite)
    assert info.value.errno == errno.ENOSPC
    assert [p.name for p in tmp_path.iterdir()] == ([name] if overwrite else [])
    assert not overwrite or path.read_bytes() == b"precious"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupt_leaves_nothing(
    error: type[BaseException], hyperstack: Stack, tmp_path: Path
) -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield hyperstack.data[:1]
        raise error

    with pytest.raises(error):
        write_stack(tmp_path / "out.tif", blocks(), shape=hyperstack.data.shape)
    assert list(tmp_path.iterdir()) == []


def test_the_name_appears_last(
    hyperstack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until everything is on the disk there is only the temporary name, in the same folder."""
    seen: list[list[str]] = []
    fsync = os.fsync

    def watch(handle: int) -> None:
        seen.append([p.name for p in tmp_path.iterdir()])
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    write_stack(tmp_path / "out.tif", hyperstack.data)
    (only,) = seen[0]
    assert only.startswith(".out.tif.") and only.endswith(".partial")
    assert seen[-1] == ["out.tif"]


def test_target_must_be_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="folder must exist"):
        check_target(tmp_path / "none" / "out.tif")
    with pytest.raises(IsADirectoryError, match="must be a file"):
        check_target(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match=r"must be writable \(Read-only file system\)"):
        check_target(tmp_path / "out.tif")


def test_target_must_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(target.shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    check_target(tmp_path / "out.tif", n_bytes=10**6)
    with pytest.raises(OSError, match=r"needs 2\.0 MB, 1\.0 MB are free"):
        check_target(tmp_path / "out.tif", n_bytes=2 * 10**6)


def test_written_files_have_the_usual_permissions(hyperstack: Stack, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_stack(tmp_path / "out.tif", hyperstack.data)
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "out.tif")}
    assert len(modes) == 1


def test_control_characters_do_not_break_the_xml(tmp_path: Path) -> None:
    data = np.zeros((1, 1, 2, 3, 4), np.float32)
    like = Stack(data, "ZYX", "ZYX", description="a\x00b\x1fc", channel_names=("DA\x00PI",))
    write_stack(tmp_path / "out.ome.tif", data, like=like)
    back = read_stack(tmp_path / "out.ome.tif")
    assert "abc" in back.description and back.channel_names == ("DAPI",)


def test_a_folder_that_cannot_be_replaced_keeps_what_it_holds(tmp_path: Path) -> None:
    kept = tmp_path / "a.zarr"
    kept.mkdir()
    (kept / "zarr.json").write_text("{}")
    # The block makes no folder, so that nothing can take the old one's place.
    with pytest.raises(FileNotFoundError), target.complete_folder(kept, overwrite=True):
        pass
    assert (kept / "zarr.json").read_text() == "{}"
    assert list(tmp_path.iterdir()) == [kept]
