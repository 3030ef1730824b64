# SPDX-License-Identifier: BSD-3-Clause
"""Stacks written in any order are those that `write_stack` writes at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from otfuse.io import Stack, Written, read_stack, write_rows, write_stack

SHAPE = (2, 3, 4, 10, 7)


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
def test_same_as_at_once(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    data = rng.normal(0, 5, SHAPE).astype(np.float32)
    like = Stack(data, "TCZYX", "TCZYX", voxel=(0.3, 0.1, 0.1), channel_names=("a", "b", "c"))
    expected = write_stack(tmp_path / f"whole.{name[4:]}", data, like=like)
    written: list[Written] = []
    with write_rows(tmp_path / name, SHAPE, like=like, written=written) as file:
        for t, c in reversed(list(np.ndindex(2, 3))):
            for first, last in ((6, 10), (0, 6)):
                # (rows, nz, nx), as a view that is not contiguous
                file.write(t, c, first, data[t, c, :, first:last].swapaxes(0, 1))
        np.testing.assert_array_equal(file.mapped(), data)
    again, whole = read_stack(tmp_path / name), read_stack(expected.path)
    np.testing.assert_array_equal(again.data, data)
    assert (again.voxel, again.channel_names) == (whole.voxel, whole.channel_names)
    assert (written[0].kind, written[0].highest) == (expected.kind, expected.highest)


def test_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        write_rows(tmp_path / "out.tif", SHAPE),
    ):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_rejects_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "out.tif"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError), write_rows(path, SHAPE):
        pass
    assert path.read_bytes() == b"precious"
    with write_rows(path, SHAPE, overwrite=True):
        pass
    assert not read_stack(path).data.any()
