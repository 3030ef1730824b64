# SPDX-License-Identifier: BSD-3-Clause
"""Weights of a network with what it takes to build it again: safetensors, written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.io.target import check_target, complete_file

_RECORD = "otfuse"


def write_weights(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    record: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write tensors and a record to a safetensors file that appears when it is complete.

    Parameters
    ----------
    path : str or Path
        Ends in `.safetensors`.
    tensors : mapping of name to ndarray
    record : mapping
        Anything that JSON can hold: the kind of network, its options, where it came from.
    overwrite : bool

    Raises
    ------
    ValueError  if the name ends otherwise.
    OSError  if the folder is missing or not writable, or the file exists.
    """
    from safetensors.numpy import save

    if Path(path).suffix != ".safetensors":
        raise ValueError(f"write_weights: path must end in .safetensors, got {path}")
    check_target(path, overwrite=overwrite)
    arrays = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    with complete_file(path, overwrite=overwrite) as file:
        file.write(save(arrays, metadata={_RECORD: json.dumps(record)}))


def read_weights(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and record of a safetensors file; another program's has an empty record.

    Raises
    ------
    FileNotFoundError, PermissionError  if the file cannot be opened.
    ValueError  if it is no complete safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    with Path(path).open("rb"):  # the plain OSError of a file that is missing or not ours to read
        pass
    try:
        with safe_open(str(path), framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            record = json.loads((file.metadata() or {}).get(_RECORD, "{}"))
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"read_weights: weights must be a complete safetensors file, got {path} ({error}); "
            "copy or save it again"
        ) from None
    if not isinstance(record, dict):
        raise ValueError(f"read_weights: weights must carry a record of names, got {path}")
    return tensors, record
