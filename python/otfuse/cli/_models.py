# SPDX-License-Identifier: BSD-3-Clause
"""Which networks the command line knows; one entry makes a network known to every command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from otfuse.cli._errors import UsageError


@dataclass(frozen=True)
class Model:
    """One kind of network; what is named as `module:name` is imported when it is used.

    Attributes
    ----------
    network : str
        Its class; has `from_pretrained(path)` and `save(path, overwrite, **record)`.
    predict : str
        Function of (PredictOptions, network, Stack, Report) that restores a stack: an iterator of
        blocks of time points, (n, nc, nz, ny, nx).
    into : str
        The same with a fifth argument, a RowFile to write float32 results to; empty where there is
        none.
    normalizations : tuple of str
        What `--normalize` may be, the default first.
    tile, overlap : int
        What `--tile` and `--overlap` are by default; a tile of 0 is as large as memory allows.
    stitches : tuple of str
        What `--stitch` may be, the default first.
    ndim : int
        Axes of what it restores: 2 for images, 3 for volumes.
    trainee : str
        Function of TrainOptions that gives what is trained: (network, Task); empty where
        `otfuse train` does not know it.
    training : mapping of str to number
        What options of `otfuse train` are by default.
    """

    network: str
    predict: str
    normalizations: tuple[str, ...]
    tile: int
    overlap: int
    into: str = ""
    stitches: tuple[str, ...] = ("linear",)
    ndim: int = 2
    trainee: str = ""
    training: Mapping[str, float] = field(default_factory=dict)

    def load(self, path: Any) -> Any:
        """The network with the weights of a file."""
        return resolve(self.network).from_pretrained(path)


MODELS = {
    "mrbcr": Model(
        network="otfuse.nn:MRBCR",
        predict="otfuse.cli._predict_planes:predict_planes",
        normalizations=("image", "percentile", "tile"),
        tile=0,
        overlap=216,
        ndim=2,
        trainee="otfuse.cli._train_options:mrbcr_trainee",
        training={
            "size": 256,
            "steps": 2000,
            "batch": 32,
            "crop": 128,
            "learning_rate": 1e-3,
            "patience": 10,
        },
    ),
    "rln": Model(
        network="otfuse.nn:RLN",
        predict="otfuse.cli._predict_volume:predict_volumes",
        into="otfuse.cli._predict_volume:predict_into",
        normalizations=("percentile",),
        tile=0,
        overlap=40,
        stitches=("linear", "published"),
        ndim=3,
        trainee="otfuse.cli._train_rln:rln_trainee",
        training={
            "size": 128,
            "steps": 10_000,
            "batch": 4,
            "crop": 64,
            "learning_rate": 0.015,
            "patience": 0,
            "read_noise": 2.0,
        },
    ),
}


def find_model(command: str, name: str) -> Model:
    """The model of a name.

    Raises
    ------
    UsageError  if there is none.
    """
    if name not in MODELS:
        raise UsageError(f"{command}: --model must be one of {', '.join(MODELS)}, got {name!r}")
    return MODELS[name]


def resolve(path: str) -> Any:
    """What `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
