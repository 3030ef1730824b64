# SPDX-License-Identifier: BSD-3-Clause
"""richardson_lucy with momentum where there is no light."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close
from otfuse import reference
from samples import BOUNDARIES, counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("acceleration", ["shb", "biggs"])
def test_voxels_that_went_dark_go_on(
    acceleration: str, boundary: str, simd_level: str, rng: np.random.Generator
) -> None:
    """An update leaves nothing of them; the point that the next one starts from is the floor."""
    image = torch.zeros(3, 40, 37, dtype=torch.float64)
    image[:, 18:21, 3] = counts(rng, (3, 3)) + 5
    psf = lopsided_psf(rng, (3, 4, 5))
    init = torch.from_numpy(rng.random(image.shape)) * (image == 0)
    options = {"boundary": boundary, "acceleration": acceleration, "init": init}
    actual = otfuse.richardson_lucy(image, psf, 8, **options)
    expected = reference.richardson_lucy(image, psf, 8, **options)
    assert_close(actual, expected, simd_level, factor=128)
