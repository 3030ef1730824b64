# SPDX-License-Identifier: BSD-3-Clause
"""Time of one iteration of each Richardson-Lucy variant over that of a plain one.

Every variant has its turn in each round, in one process; the ratio is the median of the rounds'
ratios. A variant is allowed (1 + extra transforms / 4) * 1.15 of a plain iteration, which has four.

Several views: four transforms for each. Object and PSF by turns: an iteration is one step of the
object (six, with the light that the camera sees) and one of the PSF (eight, and its spectrum). A
PSF that varies: four on each tile, by the voxels of the tiles' grids over those of the whole one's.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from otfuse import (
    blind_richardson_lucy,
    multiview_richardson_lucy,
    plan_richardson_lucy,
    richardson_lucy,
    space_varying_richardson_lucy,
)
from otfuse.bench import Entry
from otfuse.bench.cases import sample
from otfuse.bench.measure import alternate, machine
from otfuse.functional._tiles import TiledBlur
from run import default_output

# Name, options, transforms beyond the four of a plain iteration.
VARIANTS: tuple[tuple[str, dict, int], ...] = (
    ("plain", {}, 0),
    ("shb", {"acceleration": "shb"}, 0),
    ("biggs", {"acceleration": "biggs"}, 0),
    ("tv", {"tv": 0.01}, 0),
    ("shb, tv", {"acceleration": "shb", "tv": 0.01}, 0),
    ("wiener_butterworth", {"back_projector": "wiener_butterworth", "force": True}, 0),
    ("background array", {"background": "array"}, 0),
    ("gradient_consensus", {"stop": "gradient_consensus", "gain": 1e-3, "offset": 0.0}, 6),
)
VIEWS = ("additive", "multiplicative", "sequential")
# Nodes of a grid of PSFs along z, y and x.
VARYING = {"space-varying, 2x2": (1, 2, 2), "depth-varying, 3": (3, 1, 1)}
ENTRIES = (
    Entry("richardson_lucy", (64, 128, 128), (31, 31)),
    Entry("richardson_lucy", (64, 256, 256), (17, 31, 31)),
    Entry("richardson_lucy", (40, 101, 101), (39, 61, 61), boundary="extended"),
    Entry("richardson_lucy", (48, 256, 256), (9, 21, 21), boundary="extended"),
)
ALLOWANCE = 1.15


def extra_transforms(entry: Entry) -> dict[str, float]:
    """Of each variant that there is for the entry: a PSF that varies has extended boundaries."""
    extra: dict[str, float] = {name: more for name, _, more in VARIANTS}
    extra |= {**{f"two views, {update}": 4 for update in VIEWS}, "blind": 11}
    if entry.boundary != "extended":
        return extra
    plan = plan_richardson_lucy(entry.spatial, entry.psf_shape, boundary="extended")
    for name, nodes in VARYING.items():
        blur = TiledBlur("", torch.ones(*nodes, *entry.psf_shape), entry.spatial, 1.0)
        extra[name] = 4 * blur.padded_voxels / plan.padded_voxels - 4
    return extra


def runs_of(entry: Entry) -> dict[str, Callable[[int], object]]:
    """Each variant as a function of the number of iterations."""
    image, psf = sample(entry)

    def run(options: dict) -> Callable[[int], object]:
        given = dict(options)
        if given.get("background") == "array":
            given["background"] = 0.01 * image
        return lambda n: richardson_lucy(image, psf, n, boundary=entry.boundary, **given)

    def views(update: str) -> Callable[[int], object]:
        pair = [psf, psf.transpose(-1, -2).contiguous()]
        return lambda n: multiview_richardson_lucy(
            [image, image], pair, n, update=update, boundary=entry.boundary
        )

    def blind(n: int) -> object:
        return blind_richardson_lucy(
            image, psf, n, object_iters=1, acceleration=None, boundary=entry.boundary
        )

    def varying(nodes: tuple[int, ...]) -> Callable[[int], object]:
        psfs = psf.expand(*nodes, *psf.shape)
        return lambda n: space_varying_richardson_lucy(image, psfs, n)

    runs = {name: run(options) for name, options, _ in VARIANTS}
    runs |= {f"two views, {update}": views(update) for update in VIEWS} | {"blind": blind}
    if entry.boundary == "extended":
        runs |= {name: varying(nodes) for name, nodes in VARYING.items()}
    return runs


def measure(entry: Entry, rounds: int) -> dict:
    """Seconds and ratios of one entry."""
    times = alternate(runs_of(entry), rounds)
    plain = times["plain"]
    rows = []
    for name, extra in extra_transforms(entry).items():
        ratio = statistics.median(b / a for a, b in zip(plain, times[name], strict=True))
        bar = (1 + extra / 4) * ALLOWANCE
        rows.append(
            {
                "variant": name,
                "iteration_seconds": statistics.median(times[name]),
                "all_seconds": times[name],
                "ratio": ratio,
                "extra_transforms": extra,
                "bar": bar,
            }
        )
    return {"name": entry.name, "rows": rows}


def table(report: dict) -> str:
    """The report in Markdown."""
    lines = []
    for result in report["results"]:
        lines += [
            f"\n{result['name']}\n",
            "| variant | time | of plain | allowed |",
            "|---" * 4 + "|",
        ]
        for row in result["rows"]:
            seconds, ratio, bar = row["iteration_seconds"], row["ratio"], row["bar"]
            late = "" if ratio <= bar or row["variant"] == "plain" else " (over)"
            lines.append(
                f"| {row['variant']} | {1e3 * seconds:.3g} ms | {ratio:.2f} | {bar:.2f}{late} |"
            )
    return "\n".join(lines).strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="", help="only entries whose name contains this")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each variant")
    parser.add_argument("--threads", type=int, help="threads")
    parser.add_argument("--output", type=Path, help="default: bench/results/algorithms/<machine>")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    entries = [entry for entry in ENTRIES if arguments.filter in entry.name]
    if not entries:
        sys.exit(f"no entry's name contains {arguments.filter!r}")
    report = {"machine": machine(), "results": [measure(e, arguments.rounds) for e in entries]}
    output = arguments.output
    if output is None:
        usual = default_output(report["machine"])
        output = usual.parent / "algorithms" / usual.name
    if arguments.filter and output.exists():  # what was measured before of the others stays
        earlier = {r["name"]: r for r in json.loads(output.read_text("utf-8"))["results"]}
        found = earlier | {r["name"]: r for r in report["results"]}
        report["results"] = [found[e.name] for e in ENTRIES if e.name in found]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
