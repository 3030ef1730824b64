# SPDX-License-Identifier: BSD-3-Clause
"""What a command tells on stdout: labelled rows, notes below them, warnings."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

_LABEL = 12
_WIDTH = 100


class Report:
    """Rows of a label and a text, wrapped so that the texts stay in their column."""

    def __init__(self, *, shown: bool = True) -> None:
        self._shown = shown
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.warnings: list[str] = []

    def row(self, label: str, *texts: str) -> None:
        """Print a labelled row; further texts go on lines of their own below the first."""
        for i, text in enumerate(texts):
            self._print(label if i == 0 else "", text)

    def notes(self, texts: list[str]) -> None:
        """Print sentences below the last row."""
        for text in texts:
            self._print("", text)

    def warn(self, text: str) -> None:
        """Print something that may spoil the result."""
        self.warnings.append(text)
        self._print("warning", text, "\033[33m" if self._colour else "")

    def _print(self, label: str, text: str, colour: str = "") -> None:
        if not self._shown:
            return
        # Piped, a row is a line, which programs can cut; on a terminal, long rows wrap.
        width = _terminal_width() - _LABEL if sys.stdout.isatty() else 10_000
        lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
        for i, line in enumerate(lines):
            head = f"{label if i == 0 else '':<{_LABEL}}"
            print(f"{colour}{head}{line}{colour and chr(27) + '[0m'}", flush=True)


def _terminal_width() -> int:
    """Columns to write on; a narrow terminal gets the texts in a narrow column."""
    return max(2 * _LABEL, min(_WIDTH, shutil.get_terminal_size().columns))


def by_extents(shape: tuple[int, ...]) -> str:
    """`40 x 201 x 101`."""
    return " x ".join(str(n) for n in shape)


def how_many(n: int, thing: str) -> str:
    """`1 tile`, `4 tiles`."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def in_bytes(n_bytes: float) -> str:
    """`12 kB`, `312 MB`, `1.4 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= 0.9995 * scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"


def in_time(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def number(value: float) -> str:
    """Four significant digits, without an exponent where it is readable without one."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"
