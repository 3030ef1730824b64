# SPDX-License-Identifier: BSD-3-Clause
"""The authors' names of RLN's tensors, and ours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_CONVOLUTIONS = {
    1: "estimation/e_1", 2: "estimation/e_2", 3: "estimation/e_3",
    4: "estimation/init_w/e_4", 5: "estimation/init_w_1/e_5", 6: "estimation/init_w_2/e_6",
    7: "estimation/init_w_3/e_7", 8: "estimation/init_w_4/e_8",
    9: "update/u_1", 10: "update/u_2", 11: "update/init_w/u_3", 12: "update/init_w_1/u_4",
    13: "update/init_w_2/u_5", 14: "update/init_w_3/u_6", 15: "update/init_w_4/u_7",
}  # fmt: skip
_NORMALISATIONS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# What a training checkpoint holds besides: the optimiser's state, and two constants nobody reads.
_TRAINING = ("/Adam", "/Adam_1", "beta1_power", "beta2_power", "input/alpha", "input/beta")


def published_names() -> dict[str, str]:
    """The authors' name of each tensor to its name in `RLN.state_dict()`."""
    names = {theirs: f"conv.{k}.weight" for k, theirs in _CONVOLUTIONS.items()}
    for k in range(17):
        scope = f"batch_normalization_{k}" if k else "batch_normalization"
        names |= {f"{scope}/{a}": f"norm.{k}.{b}" for a, b in _NORMALISATIONS.items()}
    return names


def from_published(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A published checkpoint's tensors by our names; those that are not known keep theirs.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Kernels as (z, y, x, channels in, channels out); the transposed one's (.., out, in).
    """
    names = published_names()
    return {
        names.get(name, name): values.transpose(4, 3, 0, 1, 2) if values.ndim == 5 else values
        for name, values in tensors.items()
        if not name.endswith(_TRAINING)
    }
