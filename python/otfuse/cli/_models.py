# SPDX-License-Identifier: BSD-3-Clause
"""Which networks the command line knows; one entry makes a network known to every command."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from otfuse.cli._errors import UsageError


@dataclass(frozen=True)
class Model:
    """One kind of network.

    Attributes
    ----------
    network : str
        Its class, `module:name`; has `from_pretrained(path)` and `save(path, overwrite, **record)`.
    """

    network: str

    def load(self, path: Any) -> Any:
        """The network with the weights of a file."""
        return resolve(self.network).from_pretrained(path)


MODELS = {"mrbcr": Model(network="otfuse.nn:MRBCR")}


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
