# SPDX-License-Identifier: BSD-3-Clause
"""Arrays as they come: parts of records, negative views, other layouts, another default device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import otfuse

pytestmark = pytest.mark.usefixtures("one_thread")

PSF = torch.tensor([[1.0, 2.0], [0.5, 3.0], [1.0, 0.0]])


def test_a_field_of_records(rng: np.random.Generator) -> None:
    records = np.zeros((8, 9), dtype=[("saturated", "u1"), ("counts", "f4")])
    records["counts"] = rng.poisson(9, (8, 9))
    alone = otfuse.fft_convolve(records["counts"].copy(), PSF.numpy())
    assert np.array_equal(otfuse.fft_convolve(records["counts"], PSF.numpy()), alone)


def test_an_estimated_background_of_a_negative_view(rng: np.random.Generator) -> None:
    light = torch.from_numpy(rng.poisson(9, (8, 9)).astype(np.float32))
    found = [
        otfuse.richardson_lucy(image, PSF, 3, background="auto")
        for image in (light, torch._neg_view(-light))
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (torch.eye(9).to_sparse(), "image must be dense, got layout torch.sparse_coo; use"),
        (np.eye(9, dtype=np.dtype("g")), "image must hold numbers of a type that torch has, got"),
    ],
    ids=["sparse", "longdouble"],
)
def test_rejects(image: Tensor | np.ndarray, match: str) -> None:
    with pytest.raises(TypeError, match=f"^richardson_lucy: {match}"):
        otfuse.richardson_lucy(image, PSF)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "multiview": lambda x: otfuse.multiview_richardson_lucy([x, x], [PSF, PSF], 2),
    "landweber": lambda x: otfuse.landweber(x, PSF, 2),
    "space_varying": lambda x: otfuse.space_varying_richardson_lucy(x, PSF.expand(2, 1, 3, 2), 2),
    "spectral_mix": lambda x: otfuse.spectral_mix(x[None, None], x[:3, :3, None, None]),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_default_device_does_not_matter(
    function: Callable[[Tensor], Tensor], rng: np.random.Generator
) -> None:
    image = torch.from_numpy(rng.poisson(9, (8, 9)).astype(np.float32))
    with torch.device("meta"):
        found = function(image)
    assert torch.equal(found, function(image))
