# SPDX-License-Identifier: BSD-3-Clause
"""What a job is, and which of its blocks are written: lines of JSON, kept in the output."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Block = tuple[int, ...]
_NAME, _FORMAT = "ledger.jsonl", 2
_LONG = 60  # characters of a value in an error


class ChangedParameters(ValueError):
    """The output was begun with other parameters."""


class Ledger:
    """The record of a job, which only one process writes to.

    The first line holds the parameters and what was settled when the job began; each line after
    it one block with the checksum of its voxels. A line is written once its block is in the store,
    so what a killed run leaves is complete but for a torn last line, which is dropped.

    Parameters
    ----------
    folder : Path
        Holds a ledger, see `Ledger.start`.

    Attributes
    ----------
    parameters, settled : dict
    done : dict of block to checksum
    finished : bool
        Whether the output has its metadata.

    Raises
    ------
    FileNotFoundError  if there is no ledger.
    ValueError  if it is none, or one of another version.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        text = self._path.read_text()
        complete = text[: text.rfind("\n") + 1]
        lines = [json.loads(line) for line in complete.splitlines()]
        if not lines or lines[0].get("format") != _FORMAT:
            raise ValueError(
                f"Ledger: ledger must be of format {_FORMAT}, got {self._path}; another version "
                "began this output: let that one finish it, or give --overwrite to begin anew"
            )
        self.parameters: dict[str, Any] = lines[0]["parameters"]
        self.settled: dict[str, Any] = lines[0]["settled"]
        self.done: dict[Block, str] = {
            tuple(line["block"]): line["checksum"] for line in lines[1:] if "block" in line
        }
        self.finished = any("finished" in line for line in lines)
        os.truncate(self._path, len(complete.encode()))

    @classmethod
    def start(cls, folder: Path, parameters: Mapping[str, Any], settled: Mapping[str, Any]) -> None:
        """Write the first line of a new ledger.

        Parameters
        ----------
        folder : Path
            Exists, and has no ledger.
        parameters : mapping
            All that the result depends on and that a user can say.
        settled : mapping
            What was found when the job began, and is not to be found anew: JSON can hold it.
        """
        found, kept = plain(settled), _with_version(parameters)
        head = {"format": _FORMAT, "parameters": kept, "settled": found}
        (folder / _NAME).write_text(json.dumps(head) + "\n")

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Refuse other parameters than those the job was begun with; of one that is not finished
        another version too.

        Raises
        ------
        ChangedParameters
        """
        now = _with_version(parameters)
        if self.finished:
            now["version"] = self.parameters.get("version")
        _compare(self.parameters, now)

    def check_settled(self, found: Mapping[str, Any]) -> None:
        """Refuse to go on where what was settled is now found otherwise.

        Raises
        ------
        ChangedParameters
        """
        now = plain(found)
        _compare({name: self.settled.get(name) for name in now}, now)

    def record(self, block: Block, checksum: str) -> None:
        """Note that a block is in the store."""
        self.done[block] = checksum
        self._line({"block": list(block), "checksum": checksum})

    def forget(self, block: Block) -> None:
        """Have a block written again."""
        del self.done[block]

    def finish(self) -> None:
        """Note that the output is complete."""
        self.finished = True
        self._line({"finished": True})

    def _line(self, entry: Mapping[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(values, default=str, sort_keys=True))
    return found


def _with_version(parameters: Mapping[str, Any]) -> dict[str, Any]:
    from otfuse import __version__

    return plain({**parameters, "version": __version__})


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> None:
    for name in sorted(now.keys() | before.keys()):
        was, found = before.get(name), now.get(name)
        if found == was:
            continue
        if isinstance(was, dict) and isinstance(found, dict):
            _compare(was, found, f"{within}{name} ")
        raise ChangedParameters(
            f"jobs: {within}{name} must be what the output was begun with, {_short(was)}, got "
            f"{_short(found)}; choose another output, or give --overwrite to begin anew"
        )


def _short(value: Any) -> str:
    text = re.sub(r"\s+", " ", json.dumps(value))
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
