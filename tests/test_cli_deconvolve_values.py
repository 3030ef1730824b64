# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse deconvolve`: saturated and negative voxels, offsets and backgrounds, truth values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from cli_helpers import CommandLine, counts, lopsided_psf, save
from otfuse.io import read_stack
from otfuse.io.camera import dark_levels
from test_cli_deconvolve import expected


def test_saturated_voxels_are_masked(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    data = np.minimum(counts((1, 1, 9, 20, 22)), 255).astype(np.uint16)
    n = int(np.count_nonzero(data == 255))
    image = save(tmp_path / "image.tif", data)
    words = ["--psf", psf, "--background", "90", "--psf-center", "none"]
    outcome = run.deconvolve(image, *words)
    assert f"{n} voxels at 255" in outcome.out and "masked" in outcome.out
    want = expected(data[0, 0], lopsided_psf(), 90.0, mask=data[0, 0] < 255)
    result = read_stack(tmp_path / "out.tif").data[0, 0]
    np.testing.assert_allclose(result, want, rtol=1e-3, atol=1e-4 * want.max())
    outcome = run.deconvolve(image, *words, "--no-mask-saturated", "--overwrite")
    assert "masked" not in outcome.out
    want = expected(data[0, 0], lopsided_psf(), 90.0)
    result = read_stack(tmp_path / "out.tif").data[0, 0]
    np.testing.assert_allclose(result, want, rtol=1e-3, atol=1e-4 * want.max())


def test_runaway_light_in_saturated_voxels_is_warned_of() -> None:
    from otfuse.cli._restore import Peaks

    peaks = Peaks()
    image = np.array([10, 255, 255, 90])
    peaks.look(0, image, np.array([12.0, 40.0, 50.0, 60.0]), 255)
    peaks.look(0, image, np.array([12.0, 200.0, 50.0, 70.0]), 255)
    peaks.look(1, image, np.array([12.0, 40.0, 9000.0, 60.0]), 255)
    assert peaks.seen == {0: 70, 1: 60} and peaks.hidden == {0: 200, 1: 9000}
    assert peaks.runaways() == [1]


def test_negative_voxels_are_clipped_on_request(
    run: CommandLine, psf: Path, tmp_path: Path
) -> None:
    data = counts((1, 1, 9, 20, 22)).astype(np.float32)
    data[0, 0, 2, 3, 4:7] = -5
    image = save(tmp_path / "image.tif", data)
    words = ["--psf", psf, "--psf-center", "none", "--background", "10"]
    outcome = run.deconvolve(image, *words, "--negative", "clip")
    assert outcome.code == 0 and "3 negative voxels set to zero" in outcome.out
    want = expected(np.maximum(data[0, 0], 0), lopsided_psf(), 10.0)
    result = read_stack(tmp_path / "out.tif").data[0, 0]
    np.testing.assert_allclose(result, want, rtol=1e-3, atol=1e-4 * want.max())


def test_an_offset_is_taken_off(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    data = counts((1, 1, 5, 12, 14))
    image = save(tmp_path / "image.tif", data)
    words = ["--psf", psf, "--psf-center", "none", "--offset", "95"]
    outcome = run.deconvolve(image, *words)
    assert "95 of it no light" in outcome.out
    want = expected(data[0, 0], lopsided_psf(), dark_levels(data[:, 0])[0], 95.0)
    result = read_stack(tmp_path / "out.tif").data[0, 0]
    np.testing.assert_allclose(result, want, rtol=1e-3, atol=1e-4 * want.max())


def test_a_background_that_eats_the_image_is_warned_of(
    run: CommandLine, psf: Path, tmp_path: Path
) -> None:
    image = save(tmp_path / "image.tif", counts((1, 1, 5, 12, 14)))
    outcome = run.deconvolve(image, "--psf", psf, "--background", "500")
    assert outcome.code == 0 and "the background (500) lies above the median" in outcome.out
    outcome = run.deconvolve(image, "--psf", psf, "--offset", "300", "--overwrite")
    assert "the offset (300) lies above the median" in outcome.out


@pytest.mark.parametrize("words", [(), ("--background", "50"), ("--background", "100")])
def test_a_right_background_is_not_warned_of(
    words: tuple[str, ...], run: CommandLine, psf: Path, tmp_path: Path
) -> None:
    """Though noise takes voxels below it."""
    image = save(tmp_path / "image.tif", counts((1, 1, 5, 12, 14)))
    assert "warning" not in run.deconvolve(image, "--psf", psf, *words).out


def test_truth_values_are_counts(run: CommandLine, psf: Path, tmp_path: Path) -> None:
    mask = counts((1, 1, 1, 12, 14))[0, 0, 0] > 150
    for name, pixels in (("mask.tif", mask), ("counts.tif", mask.astype(np.uint8))):
        tifffile.imwrite(tmp_path / name, pixels)
        outcome = run.deconvolve(tmp_path / name, "--psf", psf, out=f"of-{name}")
        assert outcome.code == 0, outcome.err
    of_mask, of_counts = (read_stack(tmp_path / f"of-{n}.tif").data for n in ("mask", "counts"))
    np.testing.assert_array_equal(of_mask, of_counts)
