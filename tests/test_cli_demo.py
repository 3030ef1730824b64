# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse demo`: its files, its numbers, and that it can be repeated."""

import re

import numpy as np
import pytest

from otfuse.cli import demo, main
from otfuse.io import read_stack

FILES = ["blurred.tif", "deconvolved.tif", "demo.png", "psf.tif", "truth.tif"]


@pytest.fixture
def run(capfd):
    def call(*words):
        code = main([str(word) for word in ("demo", *words)])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def small(monkeypatch):
    """A field that takes a second; the default one takes several."""
    monkeypatch.setattr(demo, "_SHAPE", (12, 56, 48))


def measures(out):
    """The rows of the table: {label: (blurred, deconvolved)}."""
    found = {}
    for label in ("PSNR", "SSIM", "correlation"):
        row = next(line for line in out.splitlines() if label in line)
        found[label] = tuple(float(n) for n in re.findall(r"\d+\.\d+", row))
    return found


def test_writes_everything_and_improves(run, small, tmp_path):
    folder = tmp_path / "new" / "demo"
    code, out, err = run("-o", folder)
    assert (code, err) == (0, "")
    assert sorted(p.name for p in folder.iterdir()) == FILES
    table = measures(out)
    assert table["PSNR"][1] > table["PSNR"][0] + 2
    assert table["SSIM"][1] > 1.5 * table["SSIM"][0]
    assert table["correlation"][1] > 1.2 * table["correlation"][0]
    assert all(name in out for name in FILES)


def test_files_hold_what_they_say(run, small, tmp_path):
    assert run("-o", tmp_path, "--iters", 3)[0] == 0
    stacks = {name: read_stack(tmp_path / name) for name in FILES if name.endswith(".tif")}
    for name, stack in stacks.items():
        assert stack.voxel == pytest.approx((0.2, 0.1, 0.1)), name
    assert stacks["truth.tif"].spatial_shape == (12, 56, 48)
    assert stacks["deconvolved.tif"].spatial_shape == (12, 56, 48)
    assert stacks["psf.tif"].spatial_shape[0] == 23
    assert stacks["psf.tif"].data.sum() == pytest.approx(1, abs=1e-4)
    image = stacks["blurred.tif"].data
    np.testing.assert_array_equal(image, image.round())
    assert 150 < image.max() < 300


def test_works_twice_in_one_folder_with_the_same_result(run, small, tmp_path):
    first = measures(run("-o", tmp_path, "--iters", 2)[1])
    second = measures(run("-o", tmp_path, "--iters", 2)[1])
    assert first == second


def test_refuses(run, tmp_path):
    code, _, err = run("-o", tmp_path, "--iters", 0)
    assert code == 2
    assert "iters" in err
    (tmp_path / "file").write_text("")
    code, _, err = run("-o", tmp_path / "file")
    assert code == 2
    assert "file" in err
