# SPDX-License-Identifier: BSD-3-Clause
"""Reading: every way in which TIFF stores a stack, and every way in which a file can be broken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from conftest import SHARED
from otfuse.io import read_stack, release_pages

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "untold": {"metadata": None},
    "big-endian": {"byteorder": ">"},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "bigtiff": {"bigtiff": True},
    "tiled": {"tile": (16, 16)},
    "zlib": {"compression": "zlib"},
    "lzw": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
    "packbits": {"compression": "packbits"},
    "ome-zlib": {"ome": True, "compression": "zlib", "metadata": {"axes": "ZYX"}},
}


@pytest.fixture
def shared_file() -> Callable[[str], Path]:
    """Path of a file of the shared data, or skip."""

    def find(name: str) -> Path:
        path = SHARED / "data" / name
        if not path.exists():
            pytest.skip(f"shared data missing: {name}; set OTFUSE_SHARED to the folder")
        return path

    return find


@pytest.fixture
def volume(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 60000, (5, 20, 30)).astype(np.uint16)


def pages_of_files() -> int:
    """Bytes of mapped files in the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells what is mapped")
def test_mapped_pages_are_given_back(rng: np.random.Generator, tmp_path: Path) -> None:
    path, planes = tmp_path / "stack.tif", rng.integers(0, 60000, (16, 512, 512)).astype(np.uint16)
    tifffile.imwrite(path, planes, photometric="minisblack")
    data = read_stack(path, mmap=True).data
    np.testing.assert_array_equal(data[0, 0], planes)
    touched = pages_of_files()
    release_pages(data[0, 0].transpose(1, 0, 2))
    assert touched - pages_of_files() > planes.nbytes // 2
    np.testing.assert_array_equal(data[0, 0], planes)
    release_pages(planes)  # nobody's file: as it was


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_reads_every_kind(kind: str, mmap: bool, volume: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, volume, photometric="minisblack", **KINDS[kind])
    stack = read_stack(path, mmap=mmap)
    assert stack.axes == "ZYX" and stack.data.shape == (1, 1, *volume.shape)
    assert stack.data.dtype == volume.dtype and stack.data.dtype.isnative
    np.testing.assert_array_equal(stack.data[0, 0], volume)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "f2", "f4", "f8", ">u2", ">f4"])
def test_keeps_the_dtype(dtype: str, tmp_path: Path) -> None:
    data = np.arange(120).reshape(4, 5, 6).astype(dtype)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, data, byteorder=dtype[0] if dtype[0] == ">" else "<", photometric="minisblack"
    )
    stack = read_stack(path)
    assert stack.data.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(stack.data[0, 0], data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_or_whole(
    kind: str, volume: np.ndarray, tmp_path: Path
) -> None:
    """Wherever a file is cut, the outcome is an error or all of the pixels, never some of them."""
    path, cut = tmp_path / "stack.tif", tmp_path / "cut.tif"
    tifffile.imwrite(path, volume, photometric="minisblack", **KINDS[kind])
    content = path.read_bytes()
    n_refused = 0
    ends = [*range(0, 600, 37), *range(600, len(content), 331), len(content) - 100]
    for end in ends:
        cut.write_bytes(content[:end])
        try:
            stack = read_stack(cut)
        except ValueError as error:
            assert "read_stack: image must" in str(error) and "\n" not in str(error)
            n_refused += 1
        else:
            np.testing.assert_array_equal(stack.data[0, 0], volume)
    assert n_refused > len(ends) // 2


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "complete TIFF file"),
        (b"a text, by no means a picture", "complete TIFF file.*not a TIFF"),
        (b"II*\0\0\0\0\0", "must have a page"),
        (b"II*\0\x08\0\0\0" + bytes(8), "must have a page"),
    ],
    ids=["empty", "text", "no page", "empty page"],
)
def test_rejects_what_is_no_image(content: bytes, match: str, tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_stack(path)


def test_rejects_complex_pixels(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.ones((5, 6), np.complex64))
    with pytest.raises(TypeError, match="must be of real numbers, got complex64"):
        read_stack(path)


def test_rejects_colour_and_takes_it_when_named(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "rgb.tif"
    data = rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    tifffile.imwrite(path, data, photometric="rgb")
    with pytest.raises(ValueError, match=r"RGB axis S of 3.*--axes"):
        read_stack(path)
    np.testing.assert_array_equal(
        read_stack(path, axes="YXC").data[0, :, 0], np.moveaxis(data, -1, 0)
    )


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_stack(tmp_path / "none.tif")
    with pytest.raises(IsADirectoryError):
        read_stack(tmp_path)
    secret = tmp_path / "secret.tif"
    tifffile.imwrite(secret, np.ones((4, 5), np.uint8))
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(PermissionError):
        read_stack(secret)


def test_only_the_first_of_several_images_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.zeros((4, 20, 30), np.uint16), photometric="minisblack")
        tif.write(np.ones((6, 10, 10), np.uint16), photometric="minisblack")
    stack = read_stack(path)
    assert stack.spatial_shape == (4, 20, 30)
    assert any("holds 2 images" in note for note in stack.notes)


def test_missing_files_of_a_set_are_no_zeros(tmp_path: Path) -> None:
    """tifffile fills what a multi-file OME-TIFF lacks with zeros and only logs it."""
    path = tmp_path / "part.ome.tif"
    tifffile.imwrite(path, np.ones((3, 8, 9), np.uint16), ome=True, metadata={"axes": "ZYX"})
    text = path.read_bytes()
    path.write_bytes(text.replace(b'SizeZ="3"', b'SizeZ="7"'))
    with pytest.raises(ValueError, match=r"must be a complete.*issing data are zeroed"):
        read_stack(path)


@pytest.mark.parametrize(
    "name",
    [
        "deconwolf_dapi_001.tif",
        "flowdec_bars-25pct_data.tif",
        "flowdec_neuron-25pct_data.tif",
        "sdeconv_pollen.tif",
        "sdeconv_pollen_poisson_noise_blurred.tif",
        "sdeconv_pollen_psf.tif",
    ],
)
def test_stacks_in_the_wild_have_no_labels(name: str, shared_file: Any) -> None:
    stack = read_stack(shared_file(name))
    assert stack.axes == "ZYX" and stack.file_axes in ("QYX", "IYX")
    assert len(stack.notes) == 1 and "z-stack" in stack.notes[0]
    assert stack.voxel == (None, None, None)  # 72 pixels per inch are no voxel size


def test_psfgenerator_file(shared_file: Any) -> None:
    stack = read_stack(shared_file("flowdec_psfs_psfgen1.tif"))
    assert stack.kind == "imagej" and stack.axes == "ZYX" and stack.notes == []
    assert stack.voxel == pytest.approx((0.25, 0.1, 0.1))
    assert stack.units == ("nm", "nm", "nm")
    assert stack.data.dtype.isnative
