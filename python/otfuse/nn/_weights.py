# SPDX-License-Identifier: BSD-3-Clause
"""A network's weights: kept in a file of ours, filled from named arrays, or what is wrong."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from otfuse import _checks
from otfuse.io.weights import read_weights, write_weights

_LISTED = 6


class SavedNetwork(nn.Module):
    """A network whose weights are kept with what builds it again."""

    model: ClassVar[str]  # its name in files and on the command line

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What the constructor takes to build this network again, as JSON can hold it."""

    def save(self, path: str | Path, *, overwrite: bool = False, **record: Any) -> None:
        """Write the weights to a `.safetensors` file that `from_pretrained` reads.

        Parameters
        ----------
        path : str or Path
        overwrite : bool
            Whether an existing file may be replaced.
        **record
            Kept with them: anything that JSON can hold.

        Raises
        ------
        OSError
            If the folder is missing or not writable, or the file exists.
        """
        arrays = {name: values.cpu().numpy() for name, values in self.state_dict().items()}
        whole = {**record, "model": self.model, "options": self.options}
        write_weights(path, arrays, whole, overwrite=overwrite)

    @classmethod
    def read_saved(cls, path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and options of a file that `save` wrote.

        Raises
        ------
        ValueError
            If the file is damaged, or holds the weights of another network.
        """
        arrays, record = read_weights(path)
        if record.get("model") != cls.model:
            raise ValueError(
                f"{cls.__name__}: weights must be those of an {cls.__name__}, got {path} with the "
                f"weights of {record.get('model', 'an unknown network')!r}"
            )
        return arrays, dict(record.get("options", {}))


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


Snapshot = list[tuple[Tensor, int]]


def snapshot(tensors: Sequence[Tensor]) -> Snapshot:
    """What `unchanged` compares: their values, where a look at them waits for nothing.

    Elsewhere how often torch has counted a change of each, which it does not through `.data`.
    """
    if all(_checks.values_at_hand(t) for t in tensors):
        return [(torch.cat([t.detach().flatten() for t in tensors]), 0)]
    return [(t, t._version) for t in tensors]


def unchanged(before: Snapshot, now: Snapshot) -> bool:
    """Whether two snapshots of one network are the same."""
    return len(before) == len(now) and all(
        m == n and (a is b or (_checks.values_at_hand(a) and torch.equal(a, b)))
        for (a, m), (b, n) in zip(before, now, strict=True)
    )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
