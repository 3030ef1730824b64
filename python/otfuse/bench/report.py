# SPDX-License-Identifier: BSD-3-Clause
"""Measurements as a table, and against an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

SLOWER = 1.05  # than the baseline: worth a flag

COLUMNS = (
    "what",
    "time",
    "ns per voxel",
    "plain torch",
    "ratio",
    "of copy bandwidth",
    "first call (plain)",
    "peak memory (plain)",
    "others",
)
LEGEND = (
    "Time of one iteration (or convolution), median over alternating runs of otfuse and a plain "
    "loop on `torch.fft` in one process; voxels are those of the padded volume; *of copy "
    "bandwidth* is 52 B per voxel and iteration over the time, against a copy timed in the same "
    "run; the *first call* has plan and PSF in it (three iterations); *others* are how many times "
    "longer their iteration takes."
)
SHORT_COLUMNS = ("what", "time", "ns/vx", "torch", "ratio", "copy", "first", "memory", "others")
SHORT_LEGEND = (
    "time: one iteration (RL) or convolution; torch: the same in plain torch, in turns in this "
    "process; ns/vx: per voxel; copy: 52 B per voxel and iteration against a copy's speed; first: "
    "a first call of three iterations, plan and PSF included, and the memory it takes; others: "
    "times slower."
)


def _time(seconds: float) -> str:
    units = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
    unit, scale = next((u for u in units if seconds >= u[1]), units[-1])
    return f"{seconds / scale:.3g} {unit}"


def _memory(size: int | None) -> str:
    return "n/a" if size is None else f"{size / 2**20:.0f} MiB"


def _what(entry: Mapping[str, Any]) -> str:
    n_batch = len(entry["shape"]) - len(entry["psf_shape"])
    batch = "".join(f"{n} of " for n in entry["shape"][:n_batch])
    shape = "x".join(map(str, entry["shape"][n_batch:]))
    edges = "" if entry["boundary"] == "circular" else f", {entry['boundary']}"
    kind = "" if entry["dtype"] == "float32" else f", {entry['dtype']}"
    return f"{entry['op']} {batch}{shape}{edges}{kind}"


@dataclass(frozen=True)
class Row:
    """One line of the table, as text."""

    what: str
    numbers: tuple[str, ...]  # time, ns per voxel, plain torch's time, ratio, share of the copy
    first: tuple[str, str]  # ours and plain torch's
    memory: tuple[str, str]
    others: tuple[str, ...]


def table_row(result: Mapping[str, Any]) -> Row:
    """Return one line of the table, as text."""
    ours, plain = result["measured"]["otfuse"], result["measured"]["plain"]
    share = result["bandwidth_share"]
    numbers = (
        _time(ours["iteration_seconds"]),
        f"{result['ns_per_voxel']:.2f}",
        _time(plain["iteration_seconds"]),
        f"{result['ratios']['plain']:.1f}",
        "" if share is None else f"{share:.0%}",
    )
    return Row(
        _what(result["entry"]),
        numbers,
        (_time(ours["cold_seconds"]), _time(plain["cold_seconds"])),
        (_memory(ours["peak_bytes"]), _memory(plain["peak_bytes"])),
        tuple(f"{who} {x:.1f}" for who, x in result["ratios"].items() if who != "plain"),
    )


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return the machine in one sentence."""
    return (
        f"{machine['processor']}, {machine['instruction_set']}, {machine['threads']} threads on "
        f"{machine['cores']} cores, copy {machine['copy_bytes_per_second'] / 1e9:.0f} GB/s, "
        f"torch {machine['torch']}, otfuse {machine['otfuse']}."
    )


def markdown_table(*reports: Mapping[str, Any]) -> str:
    """Return whole reports for a README, one table after another."""
    tables = "\n\n".join(map(_markdown_rows, reports))
    return f"{tables}\n\n{LEGEND}"


def _markdown_rows(report: Mapping[str, Any]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for row in map(table_row, report["results"]):
        pairs = (f"{ours} ({plain})" for ours, plain in (row.first, row.memory))
        cells = (row.what, *row.numbers, *pairs, ", ".join(row.others))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([machine_line(report["machine"]), "", *lines])


def rich_table(report: Mapping[str, Any]) -> Table:
    """Return the report for a terminal of 80 columns: our side of it only."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=machine_line(report["machine"]),
        caption=SHORT_LEGEND,
        box=box.SIMPLE,
        padding=0,
        show_edge=False,
    )
    for column in SHORT_COLUMNS:
        left = column in ("what", "others")
        table.add_column(
            column,
            justify="left" if left else "right",
            no_wrap=not left,
            min_width={"what": 15, "others": 13}.get(column),
        )
    for row in map(table_row, report["results"]):
        what = row.what.replace("richardson_lucy", "RL").replace("fft_convolve", "convolve")
        cells = (*row.numbers, row.first[0], row.memory[0], "\n".join(row.others))
        table.add_row(what, *(" " + cell for cell in cells))
    return table


def compare(report: Mapping[str, Any], baseline: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Return a before/after line for each entry in both, and whether one is over 5 % slower."""
    before = {result["name"]: result for result in baseline["results"]}
    lines, slower = [], False
    for result in report["results"]:
        if result["name"] not in before:
            continue
        old, new = (
            r["measured"]["otfuse"]["iteration_seconds"] for r in (before[result["name"]], result)
        )
        flag = new > SLOWER * old
        slower |= flag
        lines.append(
            f"{result['name']}: {_time(old)} -> {_time(new)} ({new / old - 1:+.1%})"
            + ("  SLOWER" if flag else "")
        )
    return lines, slower
