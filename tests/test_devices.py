# SPDX-License-Identifier: BSD-3-Clause
"""A batch divided among devices: the same answer, and what cannot be divided is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import otfuse
from compare import assert_same
from samples import counts, lopsided_psf

pytestmark = pytest.mark.usefixtures("one_thread")


def test_parts_come_back_together(rng: np.random.Generator) -> None:
    """With one PSF for all and with one for each; masks and starts are divided too."""
    image = counts(rng, (5, 12, 13), torch.float32)
    one = lopsided_psf(rng, (4, 3))
    each = torch.stack([lopsided_psf(rng, (4, 3)) for _ in range(5)])
    mask = torch.from_numpy(rng.random((5, 12, 13)) > 0.1)
    options = {"mask": mask, "init": image + 1, "acceleration": "shb", "ndim": 2}
    for psf in (one, each):
        whole = otfuse.richardson_lucy(image, psf, 3, **options)
        for devices in (["cpu"], ["cpu"] * 2, ["cpu"] * 7):
            parts = otfuse.richardson_lucy(image, psf, 3, **options, devices=devices)
            assert_same(parts, whole, f"{len(devices)} devices")
    found = otfuse.richardson_lucy(image.numpy(), one.numpy(), 3, devices=["cpu", "cpu"])
    assert type(found) is np.ndarray


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((12, 13), {"devices": ["cpu"]}, "image must have a batch axis to be divided"),
        ((2, 12, 13), {"devices": []}, "devices must be a list of at least one device, got"),
        ((2, 12, 13), {"devices": "cpu"}, "devices must be a list of at least one device, got"),
        (
            (2, 12, 13),
            {"devices": ["cpu"], "stop": "idiv"},
            "stop must be None with devices, got 'idiv'; it looks at the whole batch",
        ),
        (
            (2, 12, 13),
            {"devices": ["cpu"], "callback": print},
            "callback must be None with devices",
        ),
    ],
)
def test_rejects(
    shape: tuple[int, ...], options: dict[str, object], message: str, rng: np.random.Generator
) -> None:
    image, psf = counts(rng, shape), lopsided_psf(rng, (4, 3))
    with pytest.raises(ValueError, match=f"richardson_lucy: {message}"):
        otfuse.richardson_lucy(image, psf, 3, **options)
