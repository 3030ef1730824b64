# SPDX-License-Identifier: BSD-3-Clause
"""How far a job of equal steps is: a bar on a terminal, a quiet line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from otfuse.cli._report import in_time

_QUIET_SECONDS = 10.0


class Steps:
    """Shows the steps of a job.

    Parameters
    ----------
    total : int
        Steps of the whole job.
    what : str
        Of what kind they are, for example `tiles`.
    """

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._done, self._before = 0, 0
        self._start = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty():
            self._bar = _terminal_bar()
            self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Steps:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def skip(self, n: int) -> None:
        """Tell that an earlier run has done n steps."""
        self._done, self._before = self._done + n, self._before + n

    def advance(self, n: int = 1, text: str = "") -> None:
        """Tell that n more steps are done, and what there is to say about them."""
        self._done += n
        label = f"{self._what} {self._done}/{self._total}{', ' + text if text else ''}"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, total=self._total, description=label)
            return
        now = time.monotonic()
        if now - self._last_line >= _QUIET_SECONDS:
            self._last_line = now
            new = self._done - self._before
            left = (now - self._start) / new * (self._total - self._done)
            print(f"{'progress':<12}{label}, {in_time(left)} left", flush=True)

    def reach(self, done: int, total: int) -> None:
        """Tell how many steps of how many are done, where that shows only on the way."""
        self._total = total
        self.advance(done - self._done)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)


def _terminal_bar() -> Any:
    # Rich is imported only where there is a terminal to draw on.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    )
