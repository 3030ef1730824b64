# SPDX-License-Identifier: BSD-3-Clause
"""What a run looks like: samples of the validation, and how the loss went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.io.target import complete_file

_PANEL, _DPI = 2.4, 100


def write_samples(path: Path, samples: Sequence[Sequence[np.ndarray]], title: str) -> None:
    """Draw rows of input, restored and target; of volumes, the middle plane.

    Parameters
    ----------
    path : Path
        The PNG.
    samples : sequence of (input, restored, target)
    title : str
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * _PANEL, len(samples) * _PANEL + 0.5), layout="constrained")
    grid = figure.subplots(len(samples), 3, squeeze=False)
    for row, sample in zip(grid, samples, strict=True):
        planes = [a.reshape(-1, *a.shape[-2:]) for a in sample]
        planes = [volume[len(volume) // 2] for volume in planes]
        low, high = np.percentile(planes[2], (0.5, 99.8))
        for axes, plane, name in zip(row, planes, ("input", "restored", "target"), strict=True):
            axes.imshow(plane, cmap="inferno", vmin=low, vmax=max(high, low + 1e-6))
            axes.set_axis_off()
            if row is grid[0]:
                axes.set_title(name, fontsize=9)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def write_curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the losses and the PSNR over the steps.

    Parameters
    ----------
    path : Path
        The PNG.
    rows : sequence of mapping
        As in `metrics.csv`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    losses, quality = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    for name, label in (("loss", "training"), ("validation_loss", "validation")):
        losses.plot(steps, [row[name] for row in rows], ".-", label=label)
    losses.set(xlabel="step", ylabel="loss", yscale="log")
    losses.legend(frameon=False)
    quality.plot(steps, [row["psnr"] for row in rows], ".-")
    quality.set(xlabel="step", ylabel="PSNR of the validation (dB)")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with complete_file(path, overwrite=True) as stream:
        figure.savefig(stream, format="png", dpi=_DPI)
