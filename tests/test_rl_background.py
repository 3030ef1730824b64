# SPDX-License-Identifier: BSD-3-Clause
"""richardson_lucy with backgrounds as arrays or found by itself, and a camera's offset."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_close, assert_same
from otfuse import reference
from otfuse.io.camera import dark_levels
from samples import BOUNDARIES, counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")

GROWTH = 16 * 5  # as in test_richardson_lucy


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_even_background_array_is_the_number(boundary: str, rng: np.random.Generator) -> None:
    image, psf = counts(rng, (2, 12, 13)) + 5, lopsided_psf(rng, (4, 3))
    for init in ("mean", "image"):
        options = {"boundary": boundary, "acceleration": "shb", "init": init}
        number = otfuse.richardson_lucy(image, psf, 5, background=3.0, **options)
        array = otfuse.richardson_lucy(image, psf, 5, background=np.full((1, 13), 3.0), **options)
        assert_close(array, number, init, factor=4)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_background_array_matches_reference(boundary: str, rng: np.random.Generator) -> None:
    image, psf = counts(rng, (2, 5, 12, 13)) + 5, lopsided_psf(rng, (2, 4, 3))
    background = torch.from_numpy(5 * rng.random((5, 12, 13)))
    mask = torch.from_numpy(rng.random((5, 12, 13)) > 0.1)
    options = {"boundary": boundary, "background": background, "mask": mask, "init": "image"}
    actual = otfuse.richardson_lucy(image, psf, 5, **options)
    assert_close(actual, reference.richardson_lucy(image, psf, 5, **options), "rl", factor=GROWTH)


def test_automatic_background(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.poisson(7.0, (2, 6, 20, 21)) + 0.0)
    image[0, :, 8:12, 8:12] += 200
    image[1] += 30
    psf = lopsided_psf(rng, (3, 4, 3))
    mask = torch.ones(image.shape, dtype=torch.bool)
    mask[0, 2, 3, 3] = False
    levels = [dark_levels(item[None].numpy()) for item in image]
    assert levels[0][1] < 4 < levels[0][0] < 8 < 24 < levels[1][1] < 34 < levels[1][0] < 38
    actual = otfuse.richardson_lucy(image, psf, 5, background="auto")
    for item, (level, dark), alone in zip(image, levels, actual, strict=True):
        expected = otfuse.richardson_lucy(item, psf, 5, background=level, offset=dark)
        assert_close(alone, expected, "item", factor=8)
        single = otfuse.richardson_lucy(item, psf, 5, background="auto")
        assert_same(single, expected, "alone")
    hidden = torch.where(mask, image, 0.0)  # a dead pixel is no background
    options = {"mask": mask, "background": "auto"}
    masked = otfuse.richardson_lucy(hidden, psf, 5, **options)
    assert bool(torch.isfinite(masked).all())
    lower, dark = dark_levels(torch.where(mask, image, image.max())[0][None].numpy())
    options = {"mask": mask[0], "background": lower, "offset": dark}
    expected = otfuse.richardson_lucy(hidden[0], psf, 5, **options)
    assert_close(masked[0], expected, "masked", factor=8)


def test_an_offset_is_taken_off(rng: np.random.Generator) -> None:
    """Of the image, cut off at 0, and of the background, a number or an array."""
    image, psf = counts(rng, (12, 13)), lopsided_psf(rng, (4, 3))
    dim = (image - 20).clamp(min=0)
    array = torch.from_numpy(15 + 10 * rng.random((12, 13)))
    for background, left in ((26.0, 6.0), (15.0, 0.0), (array, (array - 20).clamp(min=0))):
        actual = otfuse.richardson_lucy(image, psf, 5, background=background, offset=20.0)
        expected = otfuse.richardson_lucy(dim, psf, 5, background=left)
        assert_same(actual, expected, str(left))
    mask = image > 30
    actual = otfuse.richardson_lucy(image, psf, 5, mask=mask, offset=20.0)
    assert_same(actual, otfuse.richardson_lucy(dim, psf, 5, mask=mask), "masked")
