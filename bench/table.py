# SPDX-License-Identifier: BSD-3-Clause
"""Write the table of README.md from bench/results/*.json, between its two markers."""

import json
import sys
from pathlib import Path

from otfuse.bench import markdown_table

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def with_table(text: str, table: str) -> str:
    """Return the text with what stands between the markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise ValueError(f"README.md must hold {BEGIN} and then {END}, each once")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def main() -> int:
    results = sorted((ROOT / "bench" / "results").glob("*-threads.json"))
    if not results:
        print("no results in bench/results; run bench/run.py first", file=sys.stderr)
        return 1
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in results]
    readme = ROOT / "README.md"
    table = markdown_table(*reports)
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(f"README.md: tables of {len(reports)} results written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
