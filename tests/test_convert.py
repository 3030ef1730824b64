# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse convert` and `otfuse info` on volumes: pixels and metadata there and back."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from cli_helpers import CommandLine, save
from otfuse.io import Stack, convert, find_provenance, open_volume, read_stack, write_stack
from otfuse.io.convert import cover, grow
from volumes import LIKE, fill, numbers

zarr = pytest.importorskip("zarr", reason="OME-Zarr needs Python 3.11 and zarr 3")


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Two time points of two channels, with all metadata there are."""
    data = numbers((2, 2, 5, 30, 21)).astype(np.float32)
    write_stack(tmp_path / "a.ome.tif", data, like=LIKE)
    return tmp_path / "a.ome.tif", data


def same_meaning(a: Stack, b: Stack) -> None:
    for name in ("axes", "voxel", "units", "channel_names", "time_step"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("na", "wavelengths", "modality"):
        assert getattr(a.optics, name) == getattr(b.optics, name), name


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("suffix", [".ome.tif", ".tif"])
def test_there_and_back(
    run: CommandLine, image: tuple[Path, np.ndarray], version: str, suffix: str
) -> None:
    source, data = image
    if suffix == ".tif":
        source = source.with_name("b.tif")
        plain = Stack(data, "TCZYX", "TCZYX", voxel=(0.3, 0.1, 0.1), channel_names=("a", "b"))
        plain.time_step = 2.5
        write_stack(source, data, like=plain)
    there, back = run.folder / "there.zarr", run.folder / f"back{suffix}"
    outcome = run("convert", source, there, "--chunks", "2,16,16", "--ome-zarr", version)
    assert outcome.code == 0, outcome.err
    assert f"OME-Zarr {version}, chunks of 1 x 1 x 2 x 16 x 16 (t, c, z, y, x), 1 level" in (
        outcome.out
    )
    np.testing.assert_array_equal(open_volume(there).read(), data)
    assert run("convert", there, back).code == 0
    first, last = read_stack(source), read_stack(back)
    np.testing.assert_array_equal(last.data, data)
    assert last.kind == ("ome" if suffix == ".ome.tif" else "imagej")
    if suffix == ".ome.tif":
        same_meaning(first, last)
    else:
        assert (last.voxel, last.channel_names, last.time_step) == (
            pytest.approx(first.voxel), first.channel_names, first.time_step,
        )  # fmt: skip
    record = find_provenance(last.description)
    assert record is not None and record["parameters"]["input"]["file"] == "there.zarr"
    assert last.description.count("otfuse provenance") == 3  # of all three files


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float64"])
def test_dtypes_are_kept(tmp_path: Path, dtype: str) -> None:
    data = (numbers((1, 1, 4, 20, 20)) % 251).astype(dtype)
    fill(tmp_path / "a.zarr", data)
    convert(open_volume(tmp_path / "a.zarr"), tmp_path / "a.tif")
    back = read_stack(tmp_path / "a.tif").data
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, data)


@pytest.mark.parametrize("target", ["b.zarr", "b.tif"])
def test_integers(run: CommandLine, image: tuple[Path, np.ndarray], target: str) -> None:
    path, data = image
    done = run("convert", path, run.folder / target, "--dtype", "uint16")
    assert done.code == 0, done.err
    assert done.out.count("stored multiplied by") == 2
    factors = 65535 / data.max(axis=(0, 2, 3, 4)).astype(np.float64)[:, None, None, None]
    np.testing.assert_array_equal(
        open_volume(run.folder / target).read(), np.rint(data * factors).astype(np.uint16)
    )
    write_stack(run.folder / "n.tif", data - data.max())
    negative = open_volume(run.folder / "n.tif")
    with pytest.raises(ValueError, match="must be finite and not negative for uint8"):
        convert(negative, run.folder / ("n" + target), dtype="uint8")
    convert(negative, run.folder / ("c" + target), dtype="uint8", negative="clip")
    assert not open_volume(run.folder / ("c" + target)).read().any()
    with pytest.raises(ValueError, match="dtype must be one of uint16, uint8, got 'int8'"):
        convert(negative, run.folder / ("n" + target), dtype="int8")


def test_shards_and_other_chunks(run: CommandLine) -> None:
    data = numbers((1, 2, 8, 40, 40))
    fill(run.folder / "a.zarr", data, chunks=(1, 1, 8, 40, 40))
    words = ["--chunks", "2,8,8", "--shards", "1,2,4,16,16", "--compression", "gzip"]
    outcome = run("convert", run.folder / "a.zarr", run.folder / "b.zarr", *words)
    assert "in shards of 1 x 2 x 4 x 16 x 16 (t, c, z, y, x), 1 level, gzip" in outcome.out
    np.testing.assert_array_equal(open_volume(run.folder / "b.zarr").read(), data)


def test_to_a_url(run: CommandLine, image: tuple[Path, np.ndarray]) -> None:
    source, data = image
    assert run("convert", source, "memory://converted/a.zarr").code == 0
    np.testing.assert_array_equal(open_volume("memory://converted/a.zarr").read(), data)
    run("convert", source, "memory://converted/a.zarr").failed(2, "output exists")
    assert run("convert", source, "memory://converted/a.zarr", "--overwrite").code == 0
    outcome = run("info", "memory://converted/a.zarr")
    assert "file        memory://converted/a.zarr (OME-Zarr 0.5)" in outcome.out


def test_info(run: CommandLine) -> None:
    fill(run.folder / "a.zarr", numbers((1, 2, 5, 300, 40)), version="0.4")
    outcome = run("info", run.folder / "a.zarr")
    assert outcome.code == 0, outcome.err
    for text in (
        "a.zarr (OME-Zarr 0.4)",
        "axes        CZYX (the file says TCZYX)",
        "extents     2 x 5 x 300 x 40",
        "storage     chunks of 1 x 1 x 4 x 128 x 16 (t, c, z, y, x), 2 levels, blosc-zstd",
        "pyramid of 5 x 150 x 20",
        "channels    DAPI, GFP",
        "voxel       0.3, 0.1, 0.1 µm (z, y, x; OME-Zarr metadata)",
        "optics      NA 1.2 (a test)",
    ):
        assert text in outcome.out, outcome.out


def test_what_a_file_lacks_can_be_given(run: CommandLine) -> None:
    tifffile.imwrite(run.folder / "a.tif", numbers((4, 20, 20)), photometric="minisblack")
    words = [run.folder / "a.tif", run.folder / "a.zarr", "--voxel", "0.5,0.2,0.2", "--axes", "CYX"]
    assert run("convert", *words).code == 0
    volume = open_volume(run.folder / "a.zarr")
    assert volume.shape == (1, 4, 1, 20, 20) and volume.voxel == (0.5, 0.2, 0.2)


@given(
    unit=st.tuples(*[st.integers(1, 5)] * 3),
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    room=st.integers(1, 500),
)
def test_blocks_are_whole_and_small(
    unit: tuple[int, ...], shape: tuple[int, ...], room: int
) -> None:
    block = grow(unit, shape, room)
    least = np.prod([min(u, n) for u, n in zip(unit, shape, strict=True)])
    assert np.prod(block) <= max(room, least)
    assert all(b % u == 0 or b == n for b, u, n in zip(block, unit, shape, strict=True))
    seen = np.zeros(shape, int)
    for region in cover(shape, block):
        seen[region] += 1
    assert seen.min() == seen.max() == 1


_CHILD = """
import resource, sys
from otfuse.io import convert, open_volume
from otfuse.cli._memory import resident
import otfuse.io.zarr_read, zarr.codecs, zarr.storage, tifffile
convert(open_volume(sys.argv[1]), sys.argv[2], max_bytes=1, chunks=(1, 1, 1, 16, 16))
open("/proc/self/clear_refs", "w").write("5")
before = resident()
convert(open_volume(sys.argv[3]), sys.argv[4], max_bytes=6 * 2**20, chunks=(1, 1, 8, 64, 64))
peak = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(peak * 1024 - before)
"""


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_memory_stays_within_what_is_allowed(tmp_path: Path, compression: str | None) -> None:
    data = numbers((64, 512, 512))  # 32 MiB
    options: Any = {"photometric": "minisblack", "compression": compression}
    tifffile.imwrite(tmp_path / "small.tif", data[:1, :32, :32], photometric="minisblack")
    tifffile.imwrite(tmp_path / "a.tif", data // 4096, **options)
    names = ["small.tif", "small.zarr", "a.tif", "a.zarr"]
    child = [sys.executable, "-c", _CHILD, *(str(tmp_path / name) for name in names)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # A mapped file's pages count while nothing else wants the memory; threads, codecs and their
    # buffers take 15 MiB, whatever is allowed.
    mapped = 2 * data.size if compression is None else 0
    assert int(done.stdout) <= (6 + 18) * 2**20 + mapped


# What goes wrong.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--chunks", "4,4"], "--chunks must be three or five whole numbers"),
        (["--shards", "a"], "--shards must be three or five whole numbers"),
        (["--shards", "3,3,3", "--chunks", "2,2,2"], "shards must be multiples of chunks"),
        (["--shards", "4,4,4", "--ome-zarr", "0.4"], "shards must be None"),
        (["--voxel", "1,1"], "--voxel must be three lengths"),
        (["--max-memory", "1MB"], "--max-memory must exceed the program's own"),
        (["--axes", "TCYX"], "axes must name the 5 axes"),
    ],
)
def test_wrong_words(
    run: CommandLine, image: tuple[Path, np.ndarray], words: list[str], message: str
) -> None:
    run("convert", image[0], run.folder / "a.zarr", *words).failed(2, message)
    assert not (run.folder / "a.zarr").exists()


def test_a_target_that_tells_no_format(run: CommandLine, image: tuple[Path, np.ndarray]) -> None:
    run("convert", image[0], run.folder / "out").failed(2, "OUT must end in .tif, .tiff")
    assert not (run.folder / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--chunks", "4,4,4"),
        ("--shards", "8,8,8"),
        ("--compression", "gzip"),
        ("--ome-zarr", "0.5"),
    ],
)
def test_what_a_tiff_has_not(
    run: CommandLine, image: tuple[Path, np.ndarray], words: tuple[str, str]
) -> None:
    outcome = run("convert", image[0], run.folder / "b.tif", *words)
    outcome.failed(2, f"OUT must end in .zarr with {' '.join(words)}, got")
    assert not (run.folder / "b.tif").exists()


def test_a_target_that_is_the_source(run: CommandLine, image: tuple[Path, np.ndarray]) -> None:
    source, before = image[0], image[0].read_bytes()
    outcome = run("convert", source, source, "--overwrite")
    outcome.failed(2, "OUT must lie apart from what is read")
    assert source.read_bytes() == before


def test_integers_of_what_is_not_finite(run: CommandLine) -> None:
    source = save(run.folder / "nan.tif", np.full((1, 1, 2, 4, 4), np.nan))
    run("convert", source, run.folder / "a.zarr", "--dtype", "uint8").failed(
        2, "data must be finite and not negative for uint8, got NaN or infinity"
    )


def test_targets_that_exist(run: CommandLine, image: tuple[Path, np.ndarray]) -> None:
    source, data = image
    target = run.folder / "a.zarr"
    assert run("convert", source, target).code == 0
    run("convert", source, target).failed(2, "output exists")
    assert run("convert", source, target, "--overwrite").code == 0
    np.testing.assert_array_equal(open_volume(target).read(), data)
    run("convert", target, source).failed(2, "output exists")
    run("convert", source, run.folder / "no" / "a.zarr").failed(2, "folder must exist")
    assert sorted(path.name for path in run.folder.iterdir()) == ["a.ome.tif", "a.zarr"]


def test_damage_leaves_nothing_behind(run: CommandLine) -> None:
    fill(run.folder / "a.zarr", numbers((1, 1, 8, 32, 32)), chunks=(1, 1, 4, 16, 16))
    chunk = run.folder / "a.zarr/0/c/0/0/1/0/1"
    raw = chunk.read_bytes()
    chunk.write_bytes(raw[:-9])
    for target in ("b.tif", "b.zarr"):
        outcome = run("convert", run.folder / "a.zarr", run.folder / target)
        outcome.failed(1, "chunk (0, 0, 1, 0, 1) (z 4:8, y 0:16, x 16:32)", "damaged data")
    chunk.unlink()
    run("convert", run.folder / "a.zarr", run.folder / "b.tif").failed(1, "got none")
    assert [path.name for path in run.folder.iterdir()] == ["a.zarr"]
    assert (
        run("convert", run.folder / "a.zarr", run.folder / "b.tif", "--missing", "fill").code == 0
    )


def test_a_full_disk_leaves_nothing_behind(
    run: CommandLine, image: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zarr.storage.LocalStore.set", full)
    run("convert", image[0], run.folder / "a.zarr").failed(1, "disk full while writing", "a.zarr")
    assert [path.name for path in run.folder.iterdir()] == ["a.ome.tif"]


def test_what_tiff_cannot_hold(run: CommandLine) -> None:
    fill(run.folder / "a.zarr", numbers((1, 1, 2, 9, 9), "int64"), chunks=(1, 1, 1, 9, 9))
    outcome = run("convert", run.folder / "a.zarr", run.folder / "a.tif")
    outcome.failed(2, "dtype must be one that OME-TIFF has", "int64")


def test_what_is_no_image(run: CommandLine) -> None:
    run("convert", run.folder / "a.zarr", run.folder / "b.zarr").failed(2, "No such file", "a.zarr")
    run("info", run.folder).failed(2, "must be an OME-Zarr group")
    (run.folder / "a.zarr").mkdir()
    (run.folder / "a.zarr" / "zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}})
    )
    outcome = run("info", run.folder / "a.zarr")
    outcome.failed(2, "must be an OME-Zarr with multiscales")
    assert re.search("give the group that holds an image", outcome.err)
