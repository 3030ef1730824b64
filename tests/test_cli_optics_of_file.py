# SPDX-License-Identifier: BSD-3-Clause
"""Optics in a file that cannot be: in nobody's way where nothing is modelled from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_helpers import VOXEL, CommandLine, lopsided_psf, save
from otfuse.io import Optics

RIGHT: dict[str, Any] = {"na": 1.2, "immersion_index": 1.33, "wavelengths": (0.52,)}
WRONG = [
    ({"na": 1.4}, "--na must not exceed the immersion index 1.33 (OME", "got 1.4 (OME"),
    ({"wavelengths": (0.00052,)}, "--wavelength must be in micrometres", "got 0.00052 (OME"),
]


@pytest.fixture
def image(tmp_path: Path, rng: np.random.Generator) -> Any:
    """Makes an OME-TIFF of 5 planes with these optics."""

    def make(optics: dict[str, Any], **given: Any) -> Path:
        data = rng.uniform(5, 50, (1, 1, 5, 12, 14))
        return save(tmp_path / "image.ome.tif", data, optics=Optics(**RIGHT | optics), **given)

    return make


@pytest.mark.parametrize(("optics", "rule", "got"), WRONG)
def test_what_cannot_be_is_left_out(
    run: CommandLine, image: Any, psf: Path, optics: dict[str, Any], rule: str, got: str
) -> None:
    path = image(optics)
    for outcome in (run("info", path), run.deconvolve(path, "--psf", psf)):
        assert outcome.code == 0, outcome
        told = " ".join(outcome.out.split())
        assert rule in told and got in told and "): ignored" in told
    run.deconvolve(path, out="modelled.tif").failed(2, rule, got)


def test_one_right_value_in_its_place_is_enough(run: CommandLine, image: Any) -> None:
    outcome = run.deconvolve(image({"na": 1.4}), "--immersion-index", "1.515")
    assert outcome.code == 0 and "NA 1.4 (OME" in outcome.out and "ignored" not in outcome.out


@pytest.mark.parametrize("voxel", [(3e-7, 1e-7, 1e-7), (300.0, 100.0, 100.0)])
def test_no_model_on_voxels_that_cannot_be(
    run: CommandLine, image: Any, tmp_path: Path, voxel: tuple[float, float, float]
) -> None:
    path, psf = image({}, voxel=voxel), tmp_path / "psf.tif"
    save(psf, lopsided_psf()[None, None], voxel=(None, None, None))
    outcome = run.deconvolve(path)
    outcome.failed(2, "--voxel must be in micrometres (0.001 to 50)", "(OME metadata)")
    assert run("info", path).code == 0
    assert run.deconvolve(path, "--psf", psf, out="measured.tif").code == 0


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_a_psf_in_another_unit(run: CommandLine, image: Any, tmp_path: Path, unit: float) -> None:
    dz, dy, dx = VOXEL
    voxel = (unit * dz, unit * dy, unit * dx)
    psf = save(tmp_path / "psf.tif", lopsided_psf()[None, None], voxel=voxel)
    outcome = run.deconvolve(image({}), "--psf", psf)
    outcome.failed(2, "--psf must have voxels within a factor of 100 of the image's 0.3, 0.1, 0.1")
