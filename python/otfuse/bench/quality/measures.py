# SPDX-License-Identifier: BSD-3-Clause
"""What a restoration is judged by, as data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from otfuse import metrics

from .scenes import Scene


@dataclass(frozen=True)
class Measure:
    """A number that a restoration gets, and the direction in which it is better."""

    name: str
    label: str
    of: Callable[[Scene, Tensor], float]
    higher: bool
    specimens: tuple[str, ...] | None = None  # None: all


def bead_centres(truth: Tensor) -> list[tuple[int, ...]]:
    """Return the voxels that are the brightest within three, a fifth of the maximum at least,
    and not at an edge.
    """
    near = torch.nn.functional.max_pool3d(truth[None, None], 7, stride=1, padding=3)[0, 0]
    peaks = (truth == near) & (truth > 0.2 * truth.max())
    inside = torch.zeros_like(peaks)
    inside[4:-4, 4:-4, 4:-4] = True
    return [tuple(place) for place in torch.nonzero(peaks & inside).tolist()]


def _width(axes: tuple[int, ...]) -> Callable[[Scene, Tensor], float]:
    def of(scene: Scene, result: Tensor) -> float:
        widths = metrics.fwhm(result, bead_centres(scene.truth), scene.voxel)[:, list(axes)]
        known = widths[~widths.isnan()]
        return float(known.median()) if len(known) else math.nan

    return of


MEASURES: tuple[Measure, ...] = (
    Measure("psnr", "PSNR (dB)", lambda s, x: metrics.psnr(s.truth, x), True),
    Measure("ssim", "SSIM", lambda s, x: metrics.ssim(s.truth, x), True),
    Measure("correlation", "Pearson", lambda s, x: metrics.correlation(s.truth, x), True),
    Measure(
        "resolution",
        "FSC 0.5 (µm)",
        lambda s, x: metrics.shell_resolution(s.truth, x, s.voxel),
        False,
    ),
    Measure("flux", "flux error", lambda s, x: metrics.flux_error(s.truth, x), False),
    Measure("edge", "edge energy", lambda s, x: metrics.edge_energy(s.truth, x), False),
    Measure("ringing", "ringing", lambda s, x: metrics.ringing(s.truth, x), False, ("shells",)),
    Measure("lateral", "lateral FWHM (µm)", _width((1, 2)), False, ("beads",)),
    Measure("axial", "axial FWHM (µm)", _width((0,)), False, ("beads",)),
)


def measures_for(specimen: str) -> tuple[Measure, ...]:
    """Return the measures that mean something for a specimen."""
    return tuple(m for m in MEASURES if m.specimens is None or specimen in m.specimens)


def judged(scene: Scene, specimen: str, result: Tensor) -> dict[str, float]:
    """Return all measures of a restoration."""
    return {m.name: m.of(scene, result) for m in measures_for(specimen)}
