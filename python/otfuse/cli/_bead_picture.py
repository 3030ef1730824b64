# SPDX-License-Identifier: BSD-3-Clause
"""One picture of a measured PSF: which beads were used, their mean, how wide it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse._preview import COLOURS, FAINT, INK, PAPER, write_whole

if TYPE_CHECKING:
    from otfuse.psf import BeadPsf, Resolution

# Below 1, so that the dim flanks show.
_GAMMA = 0.5
_USED, _LEFT_OUT = "#6fe3a5", "#ff7b72"
_LINES = {"z": ("#f2c14e", "-"), "y": ("#6fe3a5", "-"), "x": ("#7cc4ff", "--")}


def write_bead_picture(
    path: Path,
    stack: np.ndarray,
    measured: BeadPsf,
    edges: Sequence[float],
    unit: str,
    sharp: Resolution,
    *,
    title: str,
) -> None:
    """Write a PNG of the beads, each marked as used or left out, and of the PSF with its widths.

    Parameters
    ----------
    path : Path
    stack : ndarray, shape (nz, ny, nx) or (ny, nx)
    measured : BeadPsf
    edges : sequence of float
        Voxel of the stack, one edge per axis, in `unit`.
    unit : str
    sharp : Resolution
        Of the PSF, in the same unit.
    title : str
        Heading.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.2), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}: {measured}", color=INK, size=12)
    psf = np.asarray(measured.psf)
    parts = figure.add_gridspec(1, 3, width_ratios=(1.2, 1, 1.1))
    _draw_beads(figure.add_subplot(parts[0]), stack, measured, edges)
    views = parts[1].subgridspec(2 if psf.ndim == 3 else 1, 1)
    middle = tuple(k // 2 for k in psf.shape)
    plane = psf[middle[0]] if psf.ndim == 3 else psf
    _draw_view(figure.add_subplot(views[0]), plane, edges[-2] / edges[-1], "xy")
    if psf.ndim == 3:
        side = psf[:, middle[1]]
        _draw_view(figure.add_subplot(views[1]), side, edges[0] / edges[-1], "xz")
    _draw_lines(figure.add_subplot(parts[2]), psf, edges, unit, sharp)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130, facecolor=PAPER)
    write_whole(path, picture.getvalue())


def _draw_beads(panel: Any, stack: np.ndarray, measured: BeadPsf, edges: Sequence[float]) -> None:
    """Show the maximum over z with a ring around each bead."""
    flat = stack.max(0) if stack.ndim == 3 else stack
    ground = np.median(flat)
    shown = ((flat - ground).clip(0) / (flat.max() - ground)) ** _GAMMA
    panel.imshow(shown, cmap="gray", aspect=edges[-2] / edges[-1])
    panel.set_axis_off()
    left_out = [place for place, _ in measured.rejected]
    for places, marker, colour, label in (
        (measured.used, "o", _USED, "used"),
        (left_out, "x", _LEFT_OUT, "left out"),
    ):
        if not places:
            continue
        rows, columns = zip(*(place[-2:] for place in places), strict=True)
        face = "none" if marker == "o" else colour
        panel.scatter(
            columns, rows, s=70, marker=marker, facecolors=face,
            edgecolors=colour if marker == "o" else None, linewidths=1.4, label=label,
        )  # fmt: skip
    panel.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False, labelcolor=INK
    )
    what = "maximum along z, " if stack.ndim == 3 else ""
    panel.set_title(f"beads, {what}gamma {_GAMMA:g}", color=FAINT, size=9)


def _draw_view(panel: Any, picture: np.ndarray, aspect: float, name: str) -> None:
    panel.imshow((picture / picture.max()).clip(0) ** _GAMMA, cmap=COLOURS, aspect=aspect)
    panel.set_axis_off()
    panel.set_title(f"{name}, gamma {_GAMMA:g}", color=FAINT, size=9)


def _draw_lines(
    panel: Any, psf: np.ndarray, edges: Sequence[float], unit: str, sharp: Resolution
) -> None:
    """Plot the lines through the middle, with their widths at half height."""
    middle = tuple(k // 2 for k in psf.shape)
    names = "zyx"[3 - psf.ndim :]
    for axis, name in enumerate(names):
        line = psf[tuple(slice(None) if a == axis else m for a, m in enumerate(middle))]
        place = (np.arange(len(line)) - middle[axis]) * edges[axis]
        label = f"{name}: {sharp.fwhm[axis]:.3g} {unit}"
        colour, style = _LINES[name]
        panel.plot(place, line / psf.max(), color=colour, ls=style, label=label)
    panel.axhline(0.5, color=FAINT, lw=0.6, ls=":")
    panel.set_facecolor(PAPER)
    panel.tick_params(colors=FAINT, labelsize=8)
    for spine in panel.spines.values():
        spine.set_color(FAINT)
    panel.set_xlabel(f"distance from the centre ({unit})", color=FAINT, size=9)
    panel.set_title("through the centre; full width at half maximum", color=FAINT, size=9)
    panel.legend(frameon=False, labelcolor=INK)
