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
    quality: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Instead measure how well each method restores: numbers, tables and figures.",
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(help="With --quality: about how long.")] = 30.0,
    size: Annotated[
        str, typer.Option(metavar="small|medium|large", help="With --quality: of the images.")
    ] = "small",
    seeds: Annotated[int, typer.Option(help="With --quality: noisy images of each kind.")] = 10,
) -> None:
    """Time otfuse against plain torch and the installed peers; results are checked first."""
    from otfuse.cli._errors import UsageError
    from otfuse.cli._options import check_threads

    if rounds < 1:
        raise UsageError(f"bench: --rounds must be at least 1, got {rounds}")
    check_threads("bench", threads)
    if json_path is not None and not json_path.parent.is_dir():
        raise UsageError(f"bench: --json must be in an existing folder, got {json_path}")

    if quality is not None:
        _quality(quality, minutes, size, seeds, threads)
        return

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


def _quality(folder: Path, minutes: float, size: str, seeds: int, threads: int | None) -> None:
    from otfuse.cli._errors import UsageError

    if seeds < 2:
        raise UsageError(f"bench: --seeds must be at least 2, got {seeds}")
    if not minutes >= 0:
        raise UsageError(f"bench: --minutes must not be negative, got {minutes:g}")

    import torch
    from rich.console import Console

    from otfuse.bench.quality import SIZES, run_quality, save

    if size not in SIZES:
        raise UsageError(f"bench: --size must be one of {', '.join(SIZES)}, got {size}")
    if threads is not None:
        torch.set_num_threads(threads)
    with Console().status("simulating") as status:
        report, pictures = run_quality(
            size=size, seeds=seeds, minutes=minutes, progress=status.update
        )
    for path in save(folder, report, pictures):
        print(f"wrote {path}")
