# SPDX-License-Identifier: BSD-3-Clause
"""Time the entries, write JSON, compare with an earlier run."""

import argparse
import json
import re
import sys
from pathlib import Path

from entry import ENTRIES
from otfuse.bench import compare, markdown_table, run_entries

RESULTS = Path(__file__).resolve().parent / "results"


def default_output(machine: dict) -> Path:
    """One file per processor, instruction set and number of threads."""
    words = f"{machine['processor']} {machine['instruction_set']} {machine['threads']} threads"
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") + ".json")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="", help="only entries whose name contains this")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender")
    parser.add_argument("--threads", type=int, help="threads of otfuse and torch alike")
    parser.add_argument("--output", type=Path, help="JSON file; default: bench/results/<machine>")
    parser.add_argument("--baseline", type=Path, help="JSON file of an earlier run")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    entries = [entry for entry in ENTRIES if arguments.filter in entry.name]
    if not entries:
        sys.exit(f"no entry's name contains {arguments.filter!r}")
    report = run_entries(
        entries, rounds=arguments.rounds, progress=lambda name: print(name, file=sys.stderr)
    )
    # A part of the entries is a look, not a result to publish.
    output = arguments.output
    if output is None and not arguments.filter:
        output = default_output(report["machine"])
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(markdown_table(report))
    if arguments.baseline is None:
        return 0
    lines, slower = compare(report, json.loads(arguments.baseline.read_text(encoding="utf-8")))
    print("\nagainst the baseline:", *lines, sep="\n  ")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
