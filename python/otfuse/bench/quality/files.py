# SPDX-License-Identifier: BSD-3-Clause
"""Results on disk: numbers, tables, figures, and the volumes to draw the figures again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .figures import draw_figures
from .report import markdown

NUMBERS, TABLES, VOLUMES = "quality.json", "README.md", "volumes.pt"

Pictures = dict[str, dict[str, Tensor]]


def save(folder: Path, report: dict[str, Any], pictures: Pictures) -> list[Path]:
    """Write a report into a folder and return the files that are fit to be published.

    Parameters
    ----------
    folder : Path
        Exists, or is made.
    report, pictures
        As `run_quality` returns them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers, tables = folder / NUMBERS, folder / TABLES
    text = json.dumps(_rounded(report), allow_nan=False)
    text = text.replace('{"specimen"', '\n{"specimen"')  # a line for each condition
    numbers.write_text(text + "\n", encoding="utf-8")
    tables.write_text(f"# Quality\n\n{markdown(report)}", encoding="utf-8")
    torch.save(pictures, folder / VOLUMES)
    return [numbers, tables, *draw_figures(report, pictures, folder)]


def _rounded(value: Any) -> Any:
    """Return the same with floats of six digits: more is noise."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def load(folder: Path) -> tuple[dict[str, Any], Pictures]:
    """Return what `save` wrote."""
    report = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    return report, torch.load(folder / VOLUMES, weights_only=True)
