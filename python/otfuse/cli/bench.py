# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse bench`: how fast the engine is on this machine, in half a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def bench_command(
    rounds: Annotated[int, typer.Option(help="How often each contender has its turn.")] = 5,
    threads: Annotated[
        int | None, typer.Option(help="Threads for otfuse and torch alike; default: torch's.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write all measurements to this file.")
    ] = None,
) -> None:
    """Time otfuse against plain torch and the installed peers; results are checked first."""
    from otfuse.cli._errors import UsageError

    if rounds < 1:
        raise UsageError(f"bench: --rounds must be at least 1, got {rounds}")
    if threads is not None and threads < 1:
        raise UsageError(f"bench: --threads must be at least 1, got {threads}")
    if json_path is not None and not json_path.parent.is_dir():
        raise UsageError(f"bench: --json must be in an existing folder, got {json_path}")

    import torch
    from rich.console import Console

    from otfuse.bench import SHORT, markdown_table, rich_table, run_entries

    if threads is not None:
        torch.set_num_threads(threads)
    console = Console()
    with console.status("measuring the machine") as status:
        report = run_entries(SHORT, rounds=rounds, progress=status.update)
    if console.is_terminal:
        console.print(rich_table(report))
    else:  # a pipe has no width to fit into
        print(markdown_table(report))
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {json_path}")
