# SPDX-License-Identifier: BSD-3-Clause
"""The command line: `otfuse deconvolve`, `psf`, `info`, `demo`, `bench`."""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from otfuse.cli import _errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (the job failed) or 2 (bad arguments).

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    previous = _on_termination(_terminate)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return _run(words)
    except BrokenPipeError:  # the reader of our output went away; nothing is left to tell it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _errors.JOB_FAILED
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return _errors.INTERRUPTED
    except Exception as error:
        message, code = _errors.explain(error)
        sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr)
        return code
    finally:
        _on_termination(previous)


def run() -> NoReturn:
    """Do what the process was started for, and leave at once.

    Importing torch makes half a million objects that stay, and the collector would walk them time
    and again. At the end the system takes the memory back faster than the interpreter, which would
    first visit each module: together a fifth of a short job.
    """
    gc.set_threshold(100_000, 50, 100)
    try:
        code = main()
    except SystemExit as end:  # SIGTERM; threads that work on tiles do not hold it up
        code = int(end.code or 0)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _run(words: list[str]) -> int:
    from typer import Abort

    from otfuse.cli._app import build_app

    try:
        code = build_app(words)(words or ["--help"], prog_name="otfuse", standalone_mode=False)
    except Abort:  # what older typers make of Ctrl-C
        raise KeyboardInterrupt from None
    sys.stdout.flush()
    if code == _errors.INTERRUPTED:  # so newer ones call it
        raise KeyboardInterrupt
    if not words:
        return _errors.BAD_INPUT
    return code if isinstance(code, int) else _errors.OK


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A library's warning as a row of the report, without the line of code it came from."""
    print(f"{'warning':<12}{' '.join(str(message).split())}")


def _terminate(*_: Any) -> None:
    """Leave through every `finally` on the way, so that no partial file stays behind."""
    raise SystemExit(128 + signal.SIGTERM)


def _on_termination(handler: Any) -> Any:
    try:
        return signal.signal(signal.SIGTERM, handler)
    except ValueError:  # signals belong to the main thread
        return None
