# SPDX-License-Identifier: BSD-3-Clause
"""Measure how well each method restores; write JSON, tables and one figure a specimen."""

import argparse
import os
import sys
from pathlib import Path

import torch

from otfuse.bench.quality import (
    SPECIMENS,
    command_bar,
    load,
    measure_again,
    run_quality,
    save,
    time_again,
)

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("OTFUSE_SHARED", HERE.parents[1] / "shared"))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "medium", "large"), default="small")
    parser.add_argument("--seeds", type=int, default=10, help="noise seeds")
    parser.add_argument("--minutes", type=float, default=30, help="begin no condition after these")
    parser.add_argument("--threads", type=int, help="threads of torch and otfuse alike")
    parser.add_argument("--data", type=Path, default=SHARED / "data", help="folder of the pollen")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "quality")
    parser.add_argument("--no-command", action="store_true", help="leave the command line out")
    parser.add_argument(
        "--only",
        choices=("times", "methods", "command", "drawing"),
        help="measure again, of the results that are there, the times, some methods and all stop "
        "rules, or the command line; or only draw and write",
    )
    parser.add_argument("--methods", default="", help="with --only methods: names with commas")
    return parser.parse_args()


def say(name: str) -> None:
    print(name, file=sys.stderr, flush=True)


def main() -> int:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    data = arguments.data if arguments.data.is_dir() else None
    if arguments.only is None:
        options = {name: getattr(arguments, name) for name in ("size", "seeds", "minutes")}
        report, pictures = run_quality(**options, data=data, progress=say)
        words = [f"--{name} {value}" for name, value in options.items()]
        report["made_by"] = " ".join(["python bench/quality.py", *words])
    else:
        report, pictures = load(arguments.output)
    if arguments.only == "methods":
        measure_again(report, pictures, arguments.methods.split(","), data, say)
    if arguments.only == "times":
        time_again(report, data, say)
    if arguments.only == "command" or not (arguments.only or arguments.no_command):
        say("otfuse deconvolve")
        report["command_bars"] = [command_bar(name) for name in SPECIMENS]
    save(arguments.output, report, pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
