# SPDX-License-Identifier: BSD-3-Clause
"""The numbers as tables, and in words where otfuse is not best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .measures import measures_for

PEERS = ("scikit-image", "RedLionfish", "sdeconv")


def markdown(report: dict[str, Any]) -> str:
    """Return bars, where others are better, and one table for each condition."""
    here = report["machine"]
    shape = "x".join(map(str, report["shape"]))
    made = [f"Made by `{report['made_by']}`.", ""] if "made_by" in report else []
    lines = [
        *made,
        f"{here['processor']}, {here['instruction_set']}, {here['threads']} threads on "
        f"{here['cores']} cores, torch {here['torch']}, otfuse {here['otfuse']}; "
        f"images of {shape} voxels, {report['seeds']} noise seeds, "
        f"{report['minutes']:.0f} minutes.",
        "",
        *_notes(),
        "",
        "## Bars",
        "",
        "| where | what | asked | measured | met |",
        "|---|---|---|---|---|",
        *(
            f"| {bar['where']} | {bar['what']} | {bar['asked']} | {bar['measured']} | "
            f"{'yes' if bar['met'] else '**no**'} |"
            for bar in report["bars"] + report.get("command_bars", [])
        ),
        "",
        "## Where otfuse's defaults are not best",
        "",
        *(_not_best(report) or ["Nowhere in this run."]),
        "",
    ]
    for one in report["conditions"]:
        lines += [f"## {one['name'].capitalize()}", "", *_table(one), ""]
    if report["left_out"]:
        lines += ["## Not measured", "", *(f"- {name}" for name in report["left_out"]), ""]
    return "\n".join(lines)


def _notes() -> list[str]:
    return [
        "Simulated images: the specimen on a grid three times finer than the camera's and larger "
        "than its field, blurred by the vectorial PSF model, integrated to pixels, Poisson and "
        "read noise; restored with the scalar model. *Optics off*: with a sample index 0.02 and a "
        "wavelength 5 % too high. Mean over the seeds ± half the 95 % interval. *Best*: the value "
        "of the knob with the highest PSNR, seed by seed, as if the truth were known. FSC: length "
        "down to which the Fourier shell correlation with the truth exceeds 0.5. Times are "
        "the shortest of some calls in turns on the first specimen; that of a stop includes "
        "finding it. Filters and linear inverses get the image less its background; other "
        "packages, which know neither edges nor background, that image continued by reflection, "
        "and the same PSF.",
        "",
        "Edges: how far the frame of 4 voxels lies from the restoration of a larger field, whose "
        "camera saw light that the small one did not; and how much more that frame differs from "
        "the truth than there. With the noise redrawn outside the small field alone the larger "
        "field's restoration changes by 0.0004 to 0.001 of its energy: what is above that is "
        "not noise but what the camera did not see.",
        "",
        "The pollen's image was made by others with the PSF that restores it, on the same grid: "
        "it is kinder than the simulated ones, and there is one noisy image of it.",
    ]


def _rows(one: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], float | None]]:
    """Yield method, at what, measures and seconds."""
    for name, found in one["methods"].items():
        values, knob = found["values"], found["knob"]
        best = found["best"]["value"]
        label = f"best ({knob} {best:g})" if len(values) > 1 else "as it is"
        yield name, label, found["best"], found["seconds"][values.index(best)]
        if found["default"] in values and len(values) > 1:
            i = values.index(found["default"])
            point = found["points"][i]
            yield name, f"default ({knob} {values[i]:g})", point, found["seconds"][i]
        if name == "rl":
            for value in (10, 100):
                i = values.index(value)
                yield name, f"{value} iterations", found["points"][i], found["seconds"][i]
        for rule, stopped in found["stops"].items():
            yield name, f"stop {rule}", stopped, stopped["seconds"]


def _table(one: dict[str, Any]) -> list[str]:
    measures = measures_for(one["specimen"])
    head = " | ".join(measure.label for measure in measures)
    lines = [f"| method | at | {head} | ms |", "|---|---|" + "---|" * (len(measures) + 1)]
    for name, label, point, seconds in _rows(one):
        cells = " | ".join(_cell(point[measure.name]) for measure in measures)
        lines.append(f"| {name} | {label} | {cells} | {1e3 * (seconds or 0):.3g} |")
    return lines


def _cell(value: dict[str, float | None]) -> str:
    if value["mean"] is None:
        return ""
    text = f"{value['mean']:.4g}" if abs(value["mean"]) >= 10 else f"{value['mean']:.3f}"
    return text if value["interval"] is None else f"{text} ± {value['interval']:.2g}"


def _not_best(report: dict[str, Any]) -> list[str]:
    """Return the conditions in which something else beats what a user gets by default."""
    lines = []
    for one in report["conditions"]:
        ours = one["methods"].get("shb")
        if ours is None:
            continue
        mine = ours["points"][ours["values"].index(ours["default"])]["psnr"]["mean"]
        better: dict[str, tuple[float, str]] = {}
        for name, label, point, _ in _rows(one):
            if (name, label) != ("shb", f"default (iterations {ours['default']:g})"):
                gain = point["psnr"]["mean"] - mine
                if gain > 0.1 and gain > better.get(name, (0.0, ""))[0]:
                    better[name] = (gain, label)
        listed = ", ".join(
            f"{name} {label} +{gain:.1f} dB"
            for name, (gain, label) in sorted(better.items(), key=lambda b: -b[1][0])
        )
        if listed:
            lines.append(f"- {one['name']}: above shb's 30 iterations ({mine:.1f} dB) {listed}")
    return lines
