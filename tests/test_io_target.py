# SPDX-License-Identifier: BSD-3-Clause
"""Names that are links, or long: found out before the work, replaced without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from otfuse.io import check_target
from otfuse.io.target import complete_file, complete_folder


@pytest.mark.parametrize("points_to", ["nowhere", "link"])
def test_a_link_to_nothing_is_in_the_way(tmp_path: Path, points_to: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(points_to)
    with pytest.raises(FileExistsError, match="output exists"):
        check_target(link)
    check_target(link, overwrite=True)
    with pytest.raises(NotADirectoryError, match="must be a Zarr"):
        check_target(link, overwrite=True, zarr=True)


def test_a_link_to_a_folder_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept.zarr", tmp_path / "link.zarr"
    kept.mkdir()
    (kept / "zarr.json").write_text("{}")
    link.symlink_to(kept.name)
    check_target(link, overwrite=True, zarr=True)
    with complete_folder(link, overwrite=True) as folder:
        folder.mkdir()
    assert link.is_dir() and not link.is_symlink()
    assert (kept / "zarr.json").read_text() == "{}"
    assert sorted(tmp_path.iterdir()) == [kept, link]


def test_names_are_limited_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / ("\u7d30" * 83 + ".tif")  # 253 bytes of the 255 that there may be
    check_target(path)
    with complete_file(path) as file:
        file.write(b"all")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"all"]
