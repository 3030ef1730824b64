# SPDX-License-Identifier: BSD-3-Clause
"""What a run has to remember, written so that it can be killed at any moment."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from otfuse.io import read_weights, write_weights
from otfuse.io.target import complete_file

_STATE = "state.json"
_OPTIMIZER = "optimizer."


class RunFolder:
    """Files of a run: `state.json`, the tensors that it names, and `metrics.csv`.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def begun(self) -> bool:
        """Whether there is a run to resume."""
        return (self.path / _STATE).exists()

    def save(
        self, network: nn.Module, optimizer: torch.optim.Adam, progress: Mapping[str, Any]
    ) -> None:
        """Write tensors under a new name, then the state that names them; drop the old ones."""
        tensors = {k: v.cpu().numpy() for k, v in network.state_dict().items()}
        names = [name for name, _ in network.named_parameters()]
        for i, kept in optimizer.state_dict()["state"].items():
            tensors |= {
                f"{_OPTIMIZER}{names[i]}.{key}": value.cpu().numpy() for key, value in kept.items()
            }
        file = f"state-{progress['step']:08}.safetensors"
        write_weights(self.path / file, tensors, {}, overwrite=True)
        with complete_file(self.path / _STATE, overwrite=True) as stream:
            stream.write(json.dumps({**progress, "tensors": file}, indent=1).encode())
        for old in self.path.glob("state-*.safetensors"):
            if old.name != file:
                old.unlink()

    def load(self, network: nn.Module, optimizer: torch.optim.Adam) -> dict[str, Any]:
        """Put network and optimizer back to where the run was; gives its progress.

        Raises
        ------
        FileNotFoundError
            If there is no run.
        ValueError
            If its files are damaged or belong to another network.
        """
        try:
            progress = json.loads((self.path / _STATE).read_text(encoding="utf-8"))
            tensors, _ = read_weights(self.path / progress["tensors"])
            values = {k: torch.from_numpy(np.array(v)) for k, v in tensors.items()}
            network.load_state_dict(
                {k: v for k, v in values.items() if not k.startswith(_OPTIMIZER)}
            )
            state = {}
            for i, (name, _) in enumerate(network.named_parameters()):
                prefix = f"{_OPTIMIZER}{name}."
                state[i] = {key: values[prefix + key] for key in ("step", "exp_avg", "exp_avg_sq")}
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"train: run must be complete and of this network, got {self.path} "
                f"({' '.join(str(error).split())[:200]})"
            ) from None
        return dict(progress)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write the whole table, so that it never holds epochs that the state does not."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with complete_file(self.path / "metrics.csv", overwrite=True) as stream:
            stream.write(text.getvalue().encode())
