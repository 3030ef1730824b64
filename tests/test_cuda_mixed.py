# SPDX-License-Identifier: BSD-3-Clause
"""Spectra in half precision, by the bodies of the CUDA kernels on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_same
from otfuse import reference
from otfuse.ops._device import Device
from samples import BOUNDARIES, Sample, by_name, counts, image_of, lopsided_psf
from test_cuda_kernels import FORWARD, HOPPER, NO_TILES, both_orders, host, play

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    "sample",
    [Sample("2d", (18, 20), (5, 4), batch=(2,)), Sample("3d", (6, 12, 15), (3, 4, 5))],
    ids=by_name,
)
def test_mixed_precision(
    sample: Sample, boundary: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Spectra in half precision: near the answer, but not it, on whatever scale the image is."""
    psf = lopsided_psf(rng, sample.psf, torch.float32)
    for scale in (1e-6, 1.0, 1e6):
        image = scale * (image_of(sample, rng, torch.float32) + 1)
        options = {"boundary": boundary, "acceleration": "shb"}
        truth = reference.richardson_lucy(image.double(), psf.double(), 10, **options)
        options["kernels"] = NO_TILES
        exact = both_orders(monkeypatch, otfuse.richardson_lucy, image, psf, 10, **options)
        options["precision"] = "mixed"
        mixed = both_orders(monkeypatch, otfuse.richardson_lucy, image, psf, 10, **options)
        error, least = ((a - truth).norm() / truth.norm() for a in (mixed, exact))
        # Largest of fifteen draws of the volume: 3.1e-3, most around 2e-3.
        assert 10 * float(least) < float(error) < 5e-3


def test_half_precision_rounds_as_torch_does() -> None:
    """To the nearest, ties to even; what is too large is cut off."""
    values = torch.tensor([0.0, 1.0, -2.5, 65504.0, 6e-8, 1e-5, 3.0009765625, 1 / 3, -7e-6])
    kept = torch.tensor([host.round_to_half(float(v)) for v in values])
    assert_same(kept, values.half().float(), "halves")
    assert host.round_to_half(1e9) == 65504.0


def test_mixed_precision_is_for_float32(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    play(monkeypatch, Device(NO_TILES, FORWARD, HOPPER))
    image, psf = counts(rng, (18, 20)), lopsided_psf(rng, (5, 4))
    plain = otfuse.richardson_lucy(image, psf, 3)
    assert_same(otfuse.richardson_lucy(image, psf, 3, precision="mixed"), plain, "float64")
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'mixed', got 'half'"):
        otfuse.richardson_lucy(image, psf, 3, precision="half")


def test_variants_in_half_precision(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """What updates in space does so between spectra of any kind."""
    image = counts(rng, (6, 12, 15), torch.float32) + 1
    psf = lopsided_psf(rng, (3, 4, 5), torch.float32)
    # Largest of fifteen draws: 9.8e-3 and 2.3e-3; the step of "biggs" sees the rounding too.
    for options, most in (({"acceleration": "biggs"}, 2e-2), ({"tv": 0.002}, 5e-3)):
        exact = otfuse.richardson_lucy(image, psf, 10, **options)
        options = {**options, "precision": "mixed"}
        mixed = both_orders(monkeypatch, otfuse.richardson_lucy, image, psf, 10, **options)
        assert 1e-5 < float((mixed - exact).norm() / exact.norm()) < most
