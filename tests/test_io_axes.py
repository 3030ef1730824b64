# SPDX-License-Identifier: BSD-3-Clause
"""Axes: labels are believed, unlabelled stacks are announced, the rest names the way out."""

from __future__ import annotations

import numpy as np
import pytest

from otfuse.io.axes import interpret_axes, to_tczyx


@pytest.mark.parametrize(
    ("file_axes", "shape", "expected"),
    [
        ("YX", (5, 6), "YX"),
        ("ZYX", (4, 5, 6), "ZYX"),
        ("TZCYX", (2, 4, 3, 5, 6), "TZCYX"),
        ("TYX", (4, 5, 6), "TYX"),
        ("QYX", (1, 5, 6), "-YX"),
        ("CYXS", (2, 5, 6, 1), "CYX-"),
        ("PZYX", (1, 4, 5, 6), "-ZYX"),
        ("XYX", (1, 1, 1), "-YX"),
    ],
)
def test_labels_are_believed(file_axes: str, shape: tuple[int, ...], expected: str) -> None:
    assert interpret_axes(file_axes, shape) == (expected, [])


@pytest.mark.parametrize("file_axes", ["QYX", "IYX"])
def test_unlabelled_stack_is_announced(file_axes: str) -> None:
    axes, (note,) = interpret_axes(file_axes, (40, 201, 101))
    assert axes == "ZYX"
    assert file_axes in note and "z-stack of 40 planes" in note and "--axes" in note


@pytest.mark.parametrize(
    ("file_axes", "shape", "match"),
    [
        ("QQYX", (3, 4, 5, 6), "labelled, got QQYX with extents 3 x 4 x 5 x 6; .*--axes.*CZYX"),
        ("ICYX", (3, 2, 5, 6), "labelled, got ICYX"),
        ("YXS", (50, 60, 3), "RGB axis S of 3.*--axes.*YXC for channels, YXZ for planes"),
        ("SYX", (4, 20, 30), "RGB axis S of 4.*CYX for channels, ZYX for planes"),
        ("QYXS", (5, 20, 30, 3), "ZYXC for channels, TYXZ for planes"),
        ("CYXS", (5, 20, 30, 3), "ZYXC for channels, CYXZ for planes"),
        ("QYXS", (1, 20, 30, 3), ": YXC for channels, YXZ for planes"),
        ("QYX", (50, 60, 3), r"look like colours.*--axes.*YXC or ZYX"),
        ("MYX", (7, 5, 6), "among T, C, Z, Y and X, got MYX.*--axes"),
        ("X", (7,), "among T, C, Z, Y and X"),
        ("ZYX", (0, 5, 6), "must not be empty"),
    ],
)
def test_rejects_what_it_would_have_to_guess(
    file_axes: str, shape: tuple[int, ...], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        interpret_axes(file_axes, shape)


@pytest.mark.parametrize(
    ("file_axes", "shape", "override", "expected"),
    [
        ("QYX", (4, 5, 6), "TYX", "TYX"),
        ("QYX", (4, 5, 6), "cyx", "CYX"),
        ("YXS", (50, 60, 3), "YXC", "YXC"),
        ("QQYX", (3, 4, 5, 6), "CZYX", "CZYX"),
        ("TQYX", (1, 4, 5, 6), "ZYX", "-ZYX"),
    ],
)
def test_override_wins_and_is_told(
    file_axes: str, shape: tuple[int, ...], override: str, expected: str
) -> None:
    axes, notes = interpret_axes(file_axes, shape, override)
    assert axes == expected
    assert file_axes in notes[0] and "--axes" in notes[0]


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("", "must name Y and X, got ''"),
        ("ZZYX", "different letters"),
        ("QYX", "different letters"),
        ("ZCT", "must name Y and X"),
        ("CZYX", "must name the 3 axes of the file"),
    ],
)
def test_rejects_an_override_that_does_not_fit(override: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        interpret_axes("QYX", (4, 5, 6), override)


@pytest.mark.parametrize("axes", ["YX", "ZYX", "YXC", "TZCYX", "C-ZYX", "XYZ"])
def test_every_voxel_ends_where_it_belongs(axes: str) -> None:
    extents = {"T": 2, "C": 3, "Z": 4, "Y": 5, "X": 6, "-": 1}
    data = np.arange(np.prod([extents[a] for a in axes])).reshape([extents[a] for a in axes])
    out = to_tczyx(data, axes)
    assert out.shape == tuple(extents[a] if a in axes else 1 for a in "TCZYX")
    for index in np.ndindex(out.shape):
        where = dict(zip("TCZYX", index, strict=True)) | {"-": 0}
        assert out[index] == data[tuple(where[a] for a in axes)]
