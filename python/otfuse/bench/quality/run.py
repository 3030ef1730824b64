# SPDX-License-Identifier: BSD-3-Clause
"""Every method on every scene and seed; numbers out."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from otfuse import metrics, richardson_lucy

from ..measure import machine, seconds
from . import scenes
from .bars import bars
from .measures import MEASURES, judged
from .methods import METHODS, Method, Observation, installed_filters, periodic_psf
from .peers import installed_peers
from .scenes import Scene

SIZES: dict[str, scenes.Shape] = {
    "small": (16, 48, 48),
    "medium": (32, 96, 96),
    "large": (48, 192, 192),
}
_TIMED_ROUNDS = 5
_STOP_ROUNDS = 3
_EDGE_SEEDS, _EDGE_ITERS = 3, 30


@dataclass(frozen=True)
class Condition:
    """One row of the experiment.

    `group` is "all" (with classical filters), "core", or "peers" (other packages, and what
    they are compared with).
    """

    specimen: str
    modality: str = "widefield"
    photons: float | None = 100.0
    optics: str = "exact"
    group: str = "core"

    @property
    def name(self) -> str:
        """For people."""
        if self.specimen == "pollen":
            return "pollen"
        optics = "" if self.optics == "exact" else ", optics off"
        peers = ", peers" if self.group == "peers" else ""
        return f"{self.specimen}, {self.modality}, {self.photons:g} photons{optics}{peers}"


# In order of importance: a run that is out of time leaves out the last ones.
_NAMES = tuple(scenes.SPECIMENS)
CONDITIONS: tuple[Condition, ...] = (
    *(Condition(name, group="all") for name in _NAMES),
    Condition("pollen", "as given", None, group="all"),
    *(Condition(name, optics="off") for name in _NAMES),
    *(Condition(name, group="peers") for name in _NAMES[:2]),
    *(Condition(name, modality) for modality in ("confocal", "lightsheet") for name in _NAMES),
    *(Condition(name, photons=peak) for peak in (10.0, 1000.0) for name in _NAMES),
    *(
        Condition(name, modality, peak, optics)
        for modality in ("confocal", "lightsheet")
        for optics in ("exact", "off")
        for peak in (10.0, 100.0, 1000.0)
        for name in _NAMES
        if (peak, optics) != (100.0, "exact")
    ),
    *(Condition(name, photons=peak, optics="off") for peak in (10.0, 1000.0) for name in _NAMES),
)


def run_quality(
    *,
    size: str = "small",
    seeds: int = 10,
    minutes: float = 30.0,
    conditions: Sequence[Condition] = CONDITIONS,
    data: Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Return all numbers, ready for JSON, and restored volumes of the first seed to look at.

    Parameters
    ----------
    size : "small", "medium" or "large"
        Extents of the simulated images.
    seeds : int
        Noise seeds.
    minutes : float
        A condition that would begin later than this is left out, and said to be.
    conditions : sequence of Condition
        What is measured, in this order.
    data : Path, optional
        Folder of the pollen grain; without it that condition is left out.
    progress : function of str
        Told the name of each condition before it is run.

    Returns
    -------
    (dict, dict of dict of Tensor)  the report; condition -> method -> volume.

    Raises
    ------
    ValueError  if size is unknown or seeds is below 1.
    """
    if size not in SIZES:
        raise ValueError(f"run_quality: size must be one of {', '.join(SIZES)}, got {size!r}")
    if seeds < 1:
        raise ValueError(f"run_quality: seeds must be at least 1, got {seeds}")
    begun = time.monotonic()
    report: dict[str, Any] = {"size": size, "shape": list(SIZES[size]), "seeds": seeds}
    report |= {"conditions": [], "left_out": []}
    pictures: dict[str, dict[str, Tensor]] = {}
    for condition in conditions:
        late = time.monotonic() - begun >= 60 * minutes
        missing = condition.specimen == "pollen" and data is None
        if late or missing:
            report["left_out"].append(condition.name)
            continue
        progress(condition.name)
        scene = scene_of(condition, SIZES[size], data)
        one, shown = run_condition(condition, scene, seeds)
        report["conditions"].append(one)
        if condition.group == "all":
            pictures[condition.name] = shown
    time_again(report, data, progress)
    report["minutes"] = (time.monotonic() - begun) / 60
    return report, pictures


def time_again(
    report: dict[str, Any],
    data: Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Measure the times of a report's methods on this machine and put them in their places.

    Images of one microscope have one shape, so each method is timed once for all of them, on the
    first; where a stop rule ends depends on the image a little.
    """
    report["machine"] = machine()
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in report["conditions"]:
        groups.setdefault(one["modality"], []).append(one)
    for modality, ones in groups.items():
        progress(f"times, {modality}")
        kinds = [Condition(**{key: one[key] for key in asdict(Condition(""))}) for one in ones]
        scene = scene_of(kinds[0], SIZES[report["size"]], data)
        seen = Observation(scene.image(0), scene.psfs["exact"], scene.background)
        methods = {method.name: method for kind in kinds for method in methods_of(kind)}
        times = _times(list(methods.values()), seen)
        stops = {name: _stop_times(method, seen) for name, method in methods.items()}
        for one in ones:
            for name, found in one["methods"].items():
                found["seconds"] = times[name]
                for rule, stopped in found["stops"].items():
                    stopped["seconds"] = stops[name][rule]
    report["bars"] = bars(report["conditions"])


def _stop_times(method: Method, seen: Observation) -> dict[str, float]:
    """Return the median seconds of each stop rule, finding the stop included."""
    return {
        rule: statistics.median(seconds(partial(stopped, seen)) for _ in range(_STOP_ROUNDS))
        for rule, stopped in method.stops.items()
    }


def scene_of(condition: Condition, shape: scenes.Shape, data: Path | None) -> Scene:
    if condition.specimen == "pollen" and data is not None:
        return scenes.pollen(data)
    peak = condition.photons or 0.0
    return scenes.simulated(condition.specimen, condition.modality, peak, shape)


def methods_of(condition: Condition) -> tuple[Method, ...]:
    if condition.group == "all":
        return METHODS + installed_filters()
    if condition.group == "peers":
        return tuple(m for m in METHODS if m.name in ("rl reflect", "shb")) + installed_peers()
    return tuple(m for m in METHODS if m.core)


def run_condition(
    condition: Condition, scene: Scene, seeds: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the numbers of one condition, and the best volumes of its first seed."""
    count = min(seeds, scene.seeds or seeds)
    observed = observations(scene, condition, count)
    found, shown = {}, {"truth": scene.truth}
    for method in methods_of(condition):
        found[method.name], best = run_method(condition.specimen, scene, method, observed)
        shown[method.name] = best
    one = {**asdict(condition), "name": condition.name, "seeds": count}
    truth = judged(scene, condition.specimen, scene.truth)
    one["truth"] = {name: value if math.isfinite(value) else None for name, value in truth.items()}
    one["voxels"] = scene.truth.numel()
    if condition.group == "all":
        one["edges"] = edges(scene, count)
    return {**one, "methods": found}, shown


def observations(scene: Scene, condition: Condition, count: int) -> list[Observation]:
    """Return the images of the first seeds, with the PSF that restores them."""
    kernel = scene.psfs[condition.optics]
    return [
        Observation(scene.image(seed), kernel, scene.background, scene.gain)
        for seed in range(count)
    ]


def edges(scene: Scene, seeds: int) -> dict[str, Any]:
    """Return what each boundary does to the edges, everything else alike.

    The error near the faces against the restoration of a larger field, which has no edges there
    but whose camera saw more; and by how much the error against the truth exceeds that field's.
    """
    settings: dict[str, Any] = {"background": scene.background, "acceleration": "shb"}
    kernel = scene.psfs["exact"]
    found: dict[str, list[float]] = {"extended": [], "reflect": [], "circular": []}
    beyond: dict[str, list[float]] = {name: [] for name in found}
    for seed in range(min(seeds, _EDGE_SEEDS)):
        image = scene.wide(seed)
        wide = richardson_lucy(image, scene.wide_psf, _EDGE_ITERS, **settings)[scene.box]
        least = metrics.edge_energy(scene.truth, wide)
        for boundary, energies in found.items():
            seen = Observation(image[scene.box], kernel, scene.background)
            used = periodic_psf(seen) if boundary == "circular" else kernel
            result = richardson_lucy(seen.image, used, _EDGE_ITERS, boundary=boundary, **settings)
            energies.append(metrics.edge_energy(wide, result))
            beyond[boundary].append(metrics.edge_energy(scene.truth, result) - least)
    means = {name: statistics.fmean(values) for name, values in found.items()}
    return {**means, "beyond": {name: statistics.fmean(v) for name, v in beyond.items()}}


def run_method(
    specimen: str, scene: Scene, method: Method, observed: Sequence[Observation]
) -> tuple[dict[str, Any], Tensor]:
    """Return the measures at each value, at each seed's best one, and at the stops."""
    traces: list[list[dict[str, float]]] = []
    best_volume = observed[0].image
    for seed, seen in enumerate(observed):
        trace, top = [], -math.inf
        for _, result in method.results(seen):
            trace.append(judged(scene, specimen, result))
            if seed == 0 and trace[-1]["psnr"] > top:
                top, best_volume = trace[-1]["psnr"], result.clone()
        traces.append(trace)
    points = [summary([trace[i] for trace in traces]) for i in range(len(method.values))]
    tops = [_highest([point["psnr"] for point in trace]) for trace in traces]
    best = summary([trace[i] for trace, i in zip(traces, tops, strict=True)])
    found: dict[str, Any] = {"knob": method.knob, "values": list(method.values), "points": points}
    found["best"] = {"value": statistics.median_low([method.values[i] for i in tops]), **best}
    found["default"] = method.default
    found["stops"] = stops_of(specimen, scene, method, observed)
    return found, best_volume


def stops_of(
    specimen: str, scene: Scene, method: Method, observed: Sequence[Observation]
) -> dict[str, Any]:
    """Return the measures where each rule of a method stops."""
    return {
        rule: summary([judged(scene, specimen, stopped(seen)) for seen in observed])
        for rule, stopped in method.stops.items()
    }


def summary(judgements: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return mean and half-width of the 95 % interval of each measure; None where unknown."""
    found = {}
    for measure in MEASURES:
        if measure.name not in judgements[0]:
            continue
        values = [j[measure.name] for j in judgements if math.isfinite(j[measure.name])]
        mean = statistics.fmean(values) if values else None
        found[measure.name] = {"mean": mean, "interval": _half_width(values)}
    return found


def _highest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


# Student's t for 95 %, by degrees of freedom.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def _half_width(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    quantile = 1.96 * (1 + 1.37 / freedom) if freedom > 9 else _STUDENT[freedom - 1]
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def _times(methods: Sequence[Method], seen: Observation) -> dict[str, list[float]]:
    """Return the seconds that each value of the knob takes, in turns, without looks at the run.

    Where time grows with the knob, a call of the first value and one of ten iterations more are
    timed, and the line through the shortest of each holds for all values.
    """
    ends = {m.name: (m.values[0], m.values[0] + 10.0) for m in methods}
    took: dict[str, list[list[float]]] = {m.name: [[], []] for m in methods}
    for _ in range(_TIMED_ROUNDS):
        for method in methods:
            for value, times in zip(ends[method.name], took[method.name], strict=True):
                grows = method.knob == "iterations" and len(method.values) > 1
                if times is took[method.name][1] and not grows:
                    continue
                times.append(seconds(partial(method.run, seen, value)))
    lines = {}
    for method in methods:
        first, later = took[method.name]
        base = min(first)
        slope = max(0.0, min(later) - base) / 10 if later else 0.0
        start = method.values[0]
        lines[method.name] = [base + slope * (value - start) for value in method.values]
    return lines
