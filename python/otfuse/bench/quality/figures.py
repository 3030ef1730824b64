# SPDX-License-Identifier: BSD-3-Clause
"""One figure a specimen: what it looks like, and measures against iterations and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from .measures import measures_for
from .scenes import VOXEL

_SHOWN = ("truth", "image", "rl", "shb", "wiener_butterworth", "rl circular", "wiener")
_SPARSE = ("filaments", "beads")
_CURVES = {
    "rl": "C0",
    "shb": "C1",
    "biggs": "C2",
    "wiener_butterworth": "C3",
    "wiener_butterworth reflect": "C8",
    "shb tv": "C4",
    "rl circular": "C5",
    "rl reflect": "C6",
    "landweber": "C7",
}


def draw_figures(
    report: dict[str, Any], pictures: dict[str, dict[str, Tensor]], folder: Path
) -> list[Path]:
    """Write one PNG for each condition that holds pictures, and return their paths."""
    paths = []
    for one in report["conditions"]:
        if one["name"] in pictures:
            path = folder / f"{one['specimen']}.png"
            _draw(one, pictures[one["name"]], path)
            paths.append(path)
    return paths


def _draw(one: dict[str, Any], volumes: dict[str, Tensor], path: Path) -> None:
    from matplotlib.figure import Figure

    measures = [m for m in measures_for(one["specimen"]) if m.name != "flux"]
    columns = max(len(_SHOWN), len(measures))
    figure = Figure(figsize=(2.1 * columns, 10.0), layout="constrained")
    top, bottom = cast(Any, figure.subfigures(2, 1, height_ratios=(1, 1.35)))
    _slices(top, one, volumes)
    axes = bottom.subplots(2, len(measures), sharex="row")
    for column, measure in enumerate(measures):
        for row, against in enumerate(("iterations", "seconds")):
            axis = axes[row][column]
            for name, colour in _CURVES.items():
                if name in one["methods"]:
                    _curve(axis, one["methods"][name], measure.name, against, colour, name)
            axis.set_xscale("log")
            axis.set_xlabel(against)
            axis.set_title(measure.label, fontsize=9)
            axis.tick_params(labelsize=7)
            axis.grid(alpha=0.3)
            _limit(axis, one, measure.name)
            if one["truth"].get(measure.name) and measure.name in ("lateral", "axial"):
                axis.axhline(one["truth"][measure.name], color="black", linestyle=":", linewidth=1)
    handles, labels = axes[0][0].get_legend_handles_labels()
    bottom.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    seeds = one["seeds"]
    noise = f"mean and 95 % interval of {seeds} noise seeds" if seeds > 1 else "one noisy image"
    figure.suptitle(f"{one['name']}: {noise}; volumes are each method's best")
    figure.savefig(path, dpi=75)


def _curve(
    axis: Any, found: dict[str, Any], measure: str, against: str, colour: str, name: str
) -> None:
    points = [point[measure] for point in found["points"]]
    places = found["values"] if against == "iterations" else found["seconds"]
    known = [(x, p) for x, p in zip(places, points, strict=True) if p["mean"] is not None]
    xs, means = [x for x, _ in known], [p["mean"] for _, p in known]
    axis.plot(xs, means, color=colour, marker=".", markersize=4, linewidth=1, label=name)
    spread = [p["interval"] or 0.0 for _, p in known]
    low = [m - s for m, s in zip(means, spread, strict=True)]
    high = [m + s for m, s in zip(means, spread, strict=True)]
    axis.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)


def _limit(axis: Any, one: dict[str, Any], measure: str) -> None:
    """Cut off what collapses, so that the rest can be told apart."""
    bests, values = [], []
    for name in _CURVES:
        if name in one["methods"]:
            found = one["methods"][name]
            means = [p[measure]["mean"] for p in found["points"] if p[measure]["mean"] is not None]
            values += means
            bests += [found["best"][measure]["mean"]] if found["best"][measure]["mean"] else []
    if measure == "psnr" and bests:
        axis.set_ylim(min(bests) - 3, max(values) + 0.5)


def _slices(figure: Any, one: dict[str, Any], volumes: dict[str, Tensor]) -> None:
    """Draw each method's best: along z and along y, the brightest of a sparse specimen, of others
    the plane through the truth's brightest place.
    """
    names = [name for name in _SHOWN if name in volumes]
    truth, sparse = volumes["truth"], one["specimen"] in _SPARSE
    z, y, _ = (truth == truth.max()).nonzero()[0].tolist()
    some = truth.flatten()[:: max(1, truth.numel() // 1_000_000)]
    high = max(float(torch.quantile(some, 0.998)), 0.3 * float(truth.max()))
    ratio = VOXEL[0] / VOXEL[2] if one["specimen"] != "pollen" else 1.0
    axes = figure.subplots(2, len(names), height_ratios=(truth.shape[1], ratio * truth.shape[0]))
    for column, name in enumerate(names):
        volume = volumes[name].float()
        # The scale that brings it nearest to the truth, as PSNR has it.
        volume = volume * ((truth * volume).sum() / volume.square().sum().clamp(min=1e-12))
        planes = (volume.amax(0), volume.amax(1)) if sparse else (volume[z], volume[:, y])
        for row, part in enumerate(planes):
            axis = axes[row][column]
            aspect = ratio if row else 1.0
            axis.imshow(part.numpy(), cmap="gray", vmin=0, vmax=high, aspect=aspect)
            axis.set_axis_off()
        axes[0][column].set_title(_title(one, name), fontsize=9)
    kind = "brightest along" if sparse else "plane across"
    for row, across in enumerate(("z", "y")):
        beside = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 8}
        where = axes[row][0].transAxes
        axes[row][0].text(-0.04, 0.5, f"{kind} {across}", transform=where, **beside)
    if one["specimen"] != "pollen":
        _scale_bar(axes[0][0], truth.shape)


def _scale_bar(axis: Any, shape: Sequence[int]) -> None:
    """Draw a micrometre into the lower left corner."""
    voxels, row = 1 / VOXEL[2], 0.93 * shape[1]
    axis.plot([2, 2 + voxels], [row, row], color="white", linewidth=2)
    axis.text(2, row - 2, "1 µm", color="white", fontsize=8)


def _title(one: dict[str, Any], name: str) -> str:
    if name not in one["methods"]:
        return name
    best = one["methods"][name]["best"]
    decibels = best["psnr"]["mean"]
    return (
        f"{name}\n{decibels:.1f} dB at {best['value']:g}"
        if best["value"]
        else (f"{name}\n{decibels:.1f} dB")
    )
