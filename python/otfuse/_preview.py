# SPDX-License-Identifier: BSD-3-Clause
"""One picture of a deconvolution: slices and projections, before and after, at one contrast."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

INK, PAPER, FAINT = "#e8e8ea", "#101114", "#9a9ca3"
COLOURS = "inferno"
# Below 1, so that what is dim beside the brightest structures still shows; stated on the picture.
_GAMMA = 0.5
# Shares of voxels left darker than black and brighter than white.
_DARK, _BRIGHT = 1.0, 99.0
# Inches.
_PANEL, _NARROWEST, _TALLEST = 3.2, 1.6, 6.4
_GAP, _GROUP_GAP = 0.08, 0.45
_MARGIN, _TOP, _BOTTOM = 0.3, 1.0, 0.8
_DPI = 150


@dataclass(frozen=True)
class _View:
    """Two pictures of one kind (before, after) and of what part of the volume they are."""

    name: str
    xy: tuple[np.ndarray, np.ndarray]
    xz: tuple[np.ndarray, np.ndarray] | None
    cut: tuple[int, int] | None  # plane and row of the slices


def write_preview(
    path: str | Path,
    before: Any,
    after: Any,
    voxel: Sequence[float | None] | None,
    *,
    title: str = "",
    names: tuple[str, str] = ("before", "after"),
) -> None:
    """Write a PNG that shows a volume before and after deconvolution.

    xy and xz slices through the brightest plane and row of the result, and maximum projections, at
    physical aspect with a scale bar. Each pair shares one contrast, from the darkest per cent of
    `before` to the brightest of `after`, and states it on its colour bar.

    Parameters
    ----------
    path : str or Path
        The PNG; replaced if it exists.
    before, after : array, shape (nz, ny, nx) or (ny, nx)
        One channel and time point; the same shape.
    voxel : (dz, dy, dx) or None
        Micrometres; where it is not known the picture is drawn in pixels.
    title : str
        Heading.
    names : (str, str)
        What the two volumes are.

    Raises
    ------
    ValueError  if the volumes are not of one shape, empty or of another rank.
    OSError  if the file cannot be written.
    """
    first, second = (_volume(array) for array in (before, after))
    if first.shape != second.shape:
        raise ValueError(
            f"write_preview: after must have the shape of before, got {second.shape} "
            f"and {first.shape}"
        )
    picture = io.BytesIO()
    _draw(_views(first, second), _edges(voxel), title, names).savefig(
        picture, format="png", dpi=_DPI, facecolor=PAPER
    )
    write_whole(Path(path), picture.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename: the file is complete or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _volume(array: Any) -> np.ndarray:
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    volume = np.asarray(array)
    while volume.ndim > 3 and volume.shape[0] == 1:
        volume = volume[0]
    volume = volume[None] if volume.ndim == 2 else volume
    if volume.ndim != 3 or volume.size == 0:
        raise ValueError(
            "write_preview: before and after must have axes (z, y, x) or (y, x), none of them "
            f"empty, got shape {np.shape(array)}"
        )
    return volume


def _edges(voxel: Sequence[float | None] | None) -> tuple[float, float, float, str]:
    """Return the edges of a voxel and their unit; an unknown depth is drawn like the width."""
    dz, dy, dx = (None, None, None) if voxel is None else tuple(voxel)[-3:]
    if not (dy and dx):
        return 1.0, 1.0, 1.0, "px"
    return float(dz or dx), float(dy), float(dx), "µm"


def _views(before: np.ndarray, after: np.ndarray) -> list[_View]:
    energy = np.square(after, dtype=np.float32)
    plane = int(energy.sum((1, 2)).argmax())
    row = int(energy.sum((0, 2)).argmax())
    pair = (before, after)
    if len(before) == 1:
        return [_View("image", (before[0], after[0]), None, None)]
    return [
        _View(
            "slices",
            (pair[0][plane], pair[1][plane]),
            (pair[0][:, row], pair[1][:, row]),
            (plane, row),
        ),
        _View(
            "maximum projections",
            (pair[0].max(0), pair[1].max(0)),
            (pair[0].max(1), pair[1].max(1)),
            None,
        ),
    ]


@dataclass(frozen=True)
class _Layout:
    """Where things lie on the page, in inches; every panel has the same scale."""

    width: float  # of a panel
    height: float  # of an xy panel
    under: float  # of the xz panel below it, 0 without
    n_groups: int

    @classmethod
    def of(cls, views: list[_View], edges: tuple[float, float, float, str]) -> _Layout:
        dz, dy, dx, _ = edges
        ny, nx = views[0].xy[0].shape
        depth = 0.0 if views[0].xz is None else len(views[0].xz[0]) * dz
        scale = min(_PANEL / (nx * dx), _TALLEST / (ny * dy + depth))
        return cls(nx * dx * scale, ny * dy * scale, depth * scale, len(views))

    @property
    def cell(self) -> float:
        """Width kept for a panel: a narrow one leaves room for the heading all the same."""
        return max(self.width, _NARROWEST)

    @property
    def group(self) -> float:
        return 2 * self.cell + _GAP

    @property
    def page(self) -> tuple[float, float]:
        wide = 2 * _MARGIN + self.n_groups * self.group + (self.n_groups - 1) * _GROUP_GAP
        return wide, _TOP + self.height + (self.under + _GAP if self.under else 0) + _BOTTOM

    def left(self, group: int, column: int = 0) -> float:
        start = _MARGIN + group * (self.group + _GROUP_GAP) + column * (self.cell + _GAP)
        return start + (self.cell - self.width) / 2


def _draw(
    views: list[_View], edges: tuple[float, float, float, str], title: str, names: tuple[str, str]
) -> Any:
    """Return the figure, every panel placed by hand."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = _Layout.of(views, edges)
    wide, high = layout.page
    figure = Figure(figsize=(wide, high))
    FigureCanvasAgg(figure)

    def axes(left: float, bottom: float, width: float, height: float) -> Any:
        return figure.add_axes((left / wide, bottom / high, width / wide, height / high))

    def write(left: float, below_top: float, text: str, size: int, color: str) -> None:
        figure.text(left / wide, 1 - below_top / high, text, size=size, color=color)

    dz, dy, dx, _ = edges
    write(layout.left(0), 0.4, title, 13, INK)
    for g, view in enumerate(views):
        norm = _contrast(view)
        for column, name in enumerate(names):
            left = layout.left(g, column)
            bottom = high - _TOP - layout.height
            write(left, _TOP - 0.07, name, 10, INK)
            panel = axes(left, bottom, layout.width, layout.height)
            _show(panel, view.xy[column], dy / dx, norm, "xy", view.cut and view.cut[1])
            _scale_bar(panel, edges, view.xy[0].shape[1], layout.height)
            if view.xz is not None:
                bottom -= _GAP + layout.under
                panel = axes(left, bottom, layout.width, layout.under)
                _show(panel, view.xz[column], dz / dx, norm, "xz", view.cut and view.cut[0])
        write(layout.left(g), 0.66, _describe(view), 9, FAINT)
        bar = axes(layout.left(g), 0.46, 2 * layout.cell + _GAP - layout.cell + layout.width, 0.07)
        _colour_bar(figure, bar, norm)
    return figure


def _contrast(view: _View) -> Any:
    from matplotlib.colors import PowerNorm

    pictures = [view.xy] if view.xz is None else [view.xy, view.xz]
    before, after = (np.concatenate([p[i].ravel() for p in pictures]) for i in range(2))
    low, high = float(np.percentile(before, _DARK)), float(np.percentile(after, _BRIGHT))
    low = min(low, high)
    return PowerNorm(_GAMMA, low, high if high > low else low + 1, clip=True)


def _show(
    panel: Any, picture: np.ndarray, aspect: float, norm: Any, tag: str, cut: int | None
) -> None:
    """Show one picture, and at its edges where the other slice cuts it."""
    panel.imshow(picture, cmap=COLOURS, norm=norm, aspect=aspect, interpolation="antialiased")
    panel.set_axis_off()
    _text(panel, 0.02, 0.98, tag, va="top")
    if cut is not None:
        for start, end in ((0.0, 0.03), (0.97, 1.0)):
            panel.axhline(cut, start, end, color=INK, lw=0.9)


def _describe(view: _View) -> str:
    if view.cut is None:
        return view.name
    return f"{view.name} through the brightest plane ({view.cut[0]}) and row ({view.cut[1]})"


def _colour_bar(figure: Any, axes: Any, norm: Any) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(ScalarMappable(norm, COLOURS), cax=axes, orientation="horizontal")
    ticks = [float(norm.inverse(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    bar.set_ticks(ticks)
    bar.set_ticklabels([_number(tick) for tick in ticks])
    # The outer labels stay over the bar: beside it another bar may begin.
    for label, side in zip(
        bar.ax.get_xticklabels()[:: len(ticks) - 1], ("left", "right"), strict=True
    ):
        label.set_ha(side)
    bar.ax.minorticks_off()
    bar.ax.tick_params(colors=FAINT, labelsize=8, length=2, pad=2)
    bar.outline.set_visible(False)
    label = (
        f"same contrast before and after (gamma {_GAMMA:g}, bright end at {_BRIGHT:g} % of after)"
    )
    bar.set_label(label, color=FAINT, size=8, labelpad=2)


def _number(value: float) -> str:
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def _scale_bar(
    panel: Any, edges: tuple[float, float, float, str], nx: int, panel_height: float
) -> None:
    from matplotlib.patches import Rectangle

    _, _, dx, unit = edges
    length = _round_length(nx * dx / 4)
    share, inch = length / (nx * dx), 1 / panel_height
    at = panel.transAxes
    panel.add_patch(
        Rectangle((0.95 - share, 0.12 * inch), share, 0.04 * inch, color=INK, transform=at)
    )
    label = f"{length:g} {unit}"
    _text(panel, 0.95 - share / 2, 0.19 * inch, label, ha="center", va="bottom")


def _text(panel: Any, x: float, y: float, text: str, **align: str) -> None:
    """Write on a picture, outlined so that it can be read on bright ground too."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=1.5, foreground=PAPER)]
    panel.text(
        x, y, text, color=INK, size=8, transform=panel.transAxes, path_effects=outline, **align
    )


def _round_length(longest: float) -> float:
    """Return the longest of 1, 2, 5 times a power of ten that is not over `longest`."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))
