# SPDX-License-Identifier: BSD-3-Clause
"""The command line as a whole: help, exit codes, one line on stderr, quick answers."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from cli_helpers import CommandLine
from otfuse.cli import _errors
from otfuse.cli._app import COMMANDS
from otfuse.cli._report import Report, in_bytes, in_time, number


def test_help_names_every_command(run: CommandLine) -> None:
    outcome = run("--help")
    assert outcome.code == 0 and outcome.err == ""
    for name in COMMANDS:
        assert name in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, run: CommandLine) -> None:
    outcome = run(command, "--help")
    assert outcome.code == 0 and f"otfuse {command}" in outcome.out


def test_help_joins_the_lines_of_a_paragraph(run: CommandLine) -> None:
    lines = [line.strip() for line in run("train", "--help").out.splitlines()]
    (first,) = (i for i, line in enumerate(lines) if line.startswith("Size, steps, batch"))
    paragraph = lines[first : lines.index("", first)]
    assert min(map(len, paragraph[:-1])) > 60


def test_nothing_asked_for_is_help_and_bad_arguments(run: CommandLine) -> None:
    outcome = run()
    assert outcome.code == 2 and "deconvolve" in outcome.out


def test_version(run: CommandLine) -> None:
    from otfuse import __version__

    outcome = run("--version")
    assert (outcome.code, outcome.out) == (0, f"otfuse {__version__}\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["deconvolve"], "Missing argument 'IMAGE'"),
        (["deconvolve", "a.tif"], "Missing option '--output'"),
        (["deconvolve", "a.tif", "-o", "b.tif", "--sharpen"], "No such option: --sharpen"),
        (["deconvolve", "a.tif", "-o", "b.tif", "--iters", "many"], "--iters"),
        (["deconvolve", "a.tif", "-o", "b.tif", "--boundary", "soft"], "'soft' is not one of"),
        (["info"], "Missing argument"),
    ],
)
def test_bad_arguments(words: list[str], expected: str, run: CommandLine) -> None:
    run(*words).failed(2, expected)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (_errors.UsageError("deconvolve: a must b"), 2, "deconvolve: a must b"),
        (ValueError("f: x must be\n  y"), 2, "f: x must be y"),
        (TypeError("f: x"), 2, "f: x"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.tif"), 2, "No such file: a.tif"),
        (FileExistsError(errno.EEXIST, "exists", "a.tif"), 2, "exists: a.tif"),
        (OSError(errno.ENOSPC, "disk full", "a.tif"), 1, "disk full: a.tif"),
        (OSError(errno.EIO, "I/O error"), 1, "I/O error"),
        (_errors.JobError("deconvolve: no"), 1, "deconvolve: no"),
        (RuntimeError("no device"), 1, "no device"),
        (MemoryError(), 1, "out of memory"),
        (KeyError("k"), 1, "unexpected KeyError: 'k'"),
    ],
)
def test_how_errors_end(error: Exception, code: int, text: str) -> None:
    message, found = _errors.explain(error)
    assert found == code and text in message and "\n" not in message


def test_an_interrupt_is_one_line(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from otfuse.cli import deconvolve

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deconvolve, "run_deconvolution", interrupt)
    outcome = run("deconvolve", "a.tif", "-o", "b.tif")
    assert outcome.code == 130 and outcome.err.strip() == "error: interrupted"


def test_as_a_process_it_exits_with_the_code() -> None:
    command = [sys.executable, "-m", "otfuse.cli", "info", "no such file.tif"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: No such file or directory: no such file.tif\n"


def test_answers_without_loading_what_it_does_not_need() -> None:
    """What takes longest to import is not imported for help and bad arguments."""
    heavy = "{'matplotlib', 'skimage', 'imagecodecs', 'scipy'}"
    script = (
        "import sys; from otfuse.cli import main; main(['deconvolve', 'x.tif', '-o', 'y.tif']);"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_piped_rows_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.row("label", "first " * 40, "second")
    report.warn("careful")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("label       first first")
    assert lines[1:] == ["            second", "warning     careful"]
    assert report.warnings == ["careful"]


def test_rows_wrap_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    Report().row("label", "word " * 60)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2 and max(map(len, lines)) <= 100
    assert all(line.startswith(" " * 12) for line in lines[1:])
    monkeypatch.setenv("COLUMNS", "60")
    Report().row("label", "word " * 60)
    lines = capsys.readouterr().out.splitlines()
    assert 50 < max(map(len, lines)) <= 60


@pytest.mark.parametrize(
    ("value", "text"),
    [(840, "0.84 kB"), (1.6e6, "1.6 MB"), (999.9e6, "1 GB"), (31.25e9, "31.2 GB")],
)
def test_sizes(value: float, text: str) -> None:
    assert in_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01, "0.1 s"), (3.21, "3.2 s"), (42.4, "42 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_times(value: float, text: str) -> None:
    assert in_time(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(2121.55, "2122"), (63.659, "63.66"), (0.001234, "0.001234"), (0, "0")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
