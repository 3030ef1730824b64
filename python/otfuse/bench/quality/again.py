# SPDX-License-Identifier: BSD-3-Clause
"""Parts of a report measured again, the rest left as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from .bars import bars
from .run import (
    Condition,
    methods_of,
    observations,
    run_method,
    scene_of,
    stops_of,
)


def measure_again(
    report: dict[str, Any],
    pictures: dict[str, dict[str, Tensor]],
    names: Sequence[str],
    data: Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Measure some of a report's methods again, and where the stop rules of all of them end.

    Their times stay as they are, and belong to `time_again`.

    Parameters
    ----------
    report, pictures : dict
        As `run_quality` returns them.
    names : sequence of str
        Of methods.
    data, progress
        As in `run_quality`.
    """
    nz, ny, nx = report["shape"]
    for one in report["conditions"]:
        progress(one["name"])
        condition = Condition(**{key: one[key] for key in asdict(Condition(""))})
        scene = scene_of(condition, (nz, ny, nx), data)
        observed = observations(scene, condition, one["seeds"])
        for method in methods_of(condition):
            old = one["methods"].get(method.name)
            if old is None:
                continue
            if method.name in names:
                found, best = run_method(condition.specimen, scene, method, observed)
                pictures.get(one["name"], {})[method.name] = best
                one["methods"][method.name] = {**found, "seconds": old["seconds"]}
            else:
                found = {**old, "stops": stops_of(condition.specimen, scene, method, observed)}
                one["methods"][method.name] = found
            for rule, stopped in found["stops"].items():
                stopped["seconds"] = old["stops"][rule]["seconds"]
    report["bars"] = bars(report["conditions"])
