# SPDX-License-Identifier: BSD-3-Clause
"""The networks' ops on a CUDA device: what stands in where there are no kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import test_conv_thin
import test_pixel_mlp
from compare import assert_close
from otfuse import reference
from otfuse.ops import _thin_by_torch
from samples import by_name

pytestmark = pytest.mark.usefixtures("one_thread")

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("activation", ["none", "relu", "softplus"])
@pytest.mark.parametrize("shape", test_conv_thin.SHAPES, ids=str)
def test_conv_thin_by_torch(shape: tuple, activation: str, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        weight, bias, added, *inputs = test_conv_thin.tensors(rng, *shape, dtype)
        found = _thin_by_torch.conv_thin(inputs, weight, bias, added, activation)
        exact = [t.double() for t in (weight, bias, added, *inputs)]
        assert_close(found, test_conv_thin.apply(reference, exact, activation), f"{dtype}")


@pytest.mark.parametrize("shape", test_pixel_mlp.SHAPES, ids=by_name)
def test_pixel_mlp_by_torch(shape: tuple, rng: np.random.Generator) -> None:
    x, weights, biases = test_pixel_mlp.tensors(rng, *shape, torch.float64)
    found = _thin_by_torch.pixel_mlp(x, weights, biases)
    assert_close(found, reference.pixel_mlp(x, weights, biases), "value")
