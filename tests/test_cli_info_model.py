# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse info --model`: tiles and time that a network would take."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cli_helpers import save
from test_cli_predict_rln import Predict, beads, predict

__all__ = ["predict"]


def test_projection(
    predict: Predict, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = save(predict.folder / "in.tif", beads(rng, 1, 2, 6, 20, 33))
    done = predict("info", image, "--model", "rln")
    assert done.code == 0, done.err
    found = re.search(r"predict     about [\d.]+ \S+ with rln for 2 strips of rows", done.out)
    assert found, done.out
    assert re.search(r"at [\d.]+ million voxels a second, measured now", done.out)
    assert "with rln" not in predict("info", image).out
    monkeypatch.setattr("otfuse.tiling.rln_plan.rln_rows_bytes", lambda extents: 1 << 60)
    tiled = predict("info", image, "--model", "rln").out
    assert re.search(r"with rln for 2 tiles of 6 x 20 x 33, overlap 40 where cut", tiled)


def test_overlap_is_the_same_everywhere() -> None:
    """The command line says it before it loads what plans."""
    from otfuse.cli._models import MODELS
    from otfuse.tiling import mrbcr_plan, rln_plan

    assert MODELS["rln"].overlap == rln_plan.OVERLAP
    assert MODELS["mrbcr"].overlap == mrbcr_plan.OVERLAP


def test_projection_of_planes(predict: Predict, rng: np.random.Generator) -> None:
    image = save(predict.folder / "in.tif", beads(rng, 1, 2, 3, 40, 33))
    done = predict("info", image, "--model", "mrbcr")
    assert done.code == 0, done.err
    assert re.search(r"about [\d.]+ \S+ with mrbcr for 6 tiles of 40 x 33, overlap 216", done.out)


def test_projection_rejects(predict: Predict, rng: np.random.Generator) -> None:
    flat = save(predict.folder / "flat.tif", beads(rng, 1, 1, 1, 16, 16))
    done = predict("info", flat, "--model", "rln")
    assert done.code == 2
    assert "at least 2 voxels along z, y and x" in done.err
    done = predict("info", flat, "--model", "unet")
    assert done.code == 2
    assert "--model must be one of mrbcr, rln, got 'unet'" in done.err
    assert done.out == ""
