# SPDX-License-Identifier: BSD-3-Clause
"""Which commands there are; only the one asked for is imported."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

COMMANDS = (
    "deconvolve", "predict", "train", "convert", "convert-weights", "psf", "info", "demo", "bench",
)  # fmt: skip


def build_app(words: Sequence[str]) -> typer.Typer:
    """The application with the command that `words` ask for, or with all of them.

    Parameters
    ----------
    words : sequence of str
        The arguments of the process.
    """
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_otfuse)
    wanted = words[0] if words else ""
    for name in [wanted] if wanted in COMMANDS else COMMANDS:
        spelled = name.replace("-", "_")
        module = import_module(f"otfuse.cli.{spelled}")
        command = getattr(module, f"{spelled}_command")
        app.command(name, help=_joined(command.__doc__))(command)
    return app


def _joined(text: str) -> str:
    """Paragraphs without the breaks between their lines, which typer would keep."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _print_version(wanted: bool) -> None:
    if wanted:
        from otfuse import __version__

        print(f"otfuse {__version__}")
        raise typer.Exit


def _otfuse(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Deconvolve microscope images.

    Start with `otfuse demo`, or with `otfuse info IMAGE` and `otfuse deconvolve IMAGE -o OUT`.
    """
