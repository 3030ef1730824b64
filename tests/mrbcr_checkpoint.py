# SPDX-License-Identifier: BSD-3-Clause
"""A checkpoint in the layout of the published m-rBCR weights, its numbers made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from otfuse.nn import MRBCR
from otfuse.nn._mrbcr_published import keras_names
from tf_checkpoint_writer import write_tf_checkpoint


def write_mrbcr_checkpoint(prefix: Path) -> None:
    """Write `prefix.index` and its data; kernels have the axes that Keras gives them."""
    rng = np.random.default_rng(5)
    state, tensors = MRBCR().state_dict(), {"save_counter": np.array(3, np.int64)}
    for layer, keras in keras_names():
        for kind, name in (("kernel", "weight"), ("bias", "bias")):
            shape = tuple(state[f"body.{layer}.{name}"].shape)
            if kind == "kernel":
                given, taken, ky, kx = shape
                kept = {"dense": 0, "x": 1}.get(keras.partition("_")[0].rstrip("024"), 2)
                shape = (*(ky, kx)[2 - kept :], taken, given)
            tensors[f"{keras}/{kind}"] = rng.normal(0, 0.1, shape).astype(np.float32)
    write_tf_checkpoint(prefix, tensors)
