# SPDX-License-Identifier: BSD-3-Clause
"""Filling a network from named arrays, or saying what is missing and what is too much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

_LISTED = 6


def fill(
    function: str, module: nn.Module, arrays: Mapping[str, np.ndarray], path: str | Path
) -> None:
    """Copy arrays into parameters and buffers of the same names.

    Raises
    ------
    ValueError
        If names or extents differ; the message lists them, and the module stays as it is.
    """
    state = module.state_dict(keep_vars=True)
    problems = []
    for label, names in (
        ("missing", [name for name in state if name not in arrays]),
        ("surplus", [name for name in arrays if name not in state]),
        (
            "of other extents",
            [
                f"{name} {tuple(arrays[name].shape)} for {tuple(state[name].shape)}"
                for name in state
                if name in arrays and arrays[name].shape != tuple(state[name].shape)
            ],
        ),
    ):
        if names:
            problems.append(f"{label}: {_listed(names)}")
    if problems:
        raise ValueError(
            f"{function}: weights must be those of this network, got {path} with tensors "
            f"{'; '.join(problems)}"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            values = torch.from_numpy(np.ascontiguousarray(arrays[name]))
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"{function}: weights must be finite, got {name} in {path}")
            tensor.copy_(values)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
