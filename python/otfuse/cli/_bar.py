# SPDX-License-Identifier: BSD-3-Clause
"""What progress is shown on: a bar on a terminal, lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_QUIET_SECONDS = 10.0


class Bar:
    """A bar on a terminal, gone when the job ends; elsewhere `_line_is_due` sets the pace.

    Parameters
    ----------
    text : str
        What stands before it.
    total : int
        Steps of the whole job.
    fields : str
        Names of texts that stand behind it.
    """

    def __init__(self, text: str, total: int, *fields: str) -> None:
        self._shown = sys.stderr.isatty()
        self._start = self._last_line = time.monotonic()
        if self._shown:
            self._bar = _rich_bar(fields)
            self._task = self._bar.add_task(text, total=total, **dict.fromkeys(fields, ""))

    def __enter__(self) -> Self:
        if self._shown:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._bar.stop()

    def _update(self, text: str, done: int, total: int, **fields: str) -> None:
        """Show how many steps of how many are done."""
        if self._shown:
            self._bar.update(self._task, description=text, completed=done, total=total, **fields)

    def _line_is_due(self, last: bool = False) -> bool:
        """Whether there is no bar, and the last line is long ago; the last one always is due."""
        now = time.monotonic()
        if self._shown or not (last or now - self._last_line >= _QUIET_SECONDS):
            return False
        self._last_line = now
        return True

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        if self._shown:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)


def _rich_bar(fields: tuple[str, ...]) -> Any:
    # Rich is imported only where there is a terminal to draw on.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in fields),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    )
