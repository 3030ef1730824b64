# SPDX-License-Identifier: BSD-3-Clause
"""How far the iterations are: a bar on a terminal, a quiet line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from otfuse.cli._report import in_time, number

_QUIET_SECONDS = 10.0


class Progress:
    """Shows the iterations of a job; `item` gives the callback for one call of the engine.

    Parameters
    ----------
    n_items : int
        Calls of the engine in the whole job.
    n_iters : int
        Iterations of each.
    """

    def __init__(self, n_items: int, n_iters: int) -> None:
        self._n_items, self._n_iters = n_items, n_iters
        self._done, self._start = 0, time.monotonic()
        self._last_line = self._start
        self._summary, self._told = "", True  # the last state in words, and whether it was shown
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty():
            self._bar = _terminal_bar()
            self._task = self._bar.add_task("start", total=n_items * n_iters, divergence="")

    def __enter__(self) -> Progress:
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
        # The bar vanishes, and a run may end before its time: what a single one said last is kept.
        if kind is None and self._n_items == 1 and not self._told:
            print(self._summary)

    def item(self, label: str, n_voxels: int) -> Callable[[int, Any], bool]:
        """Callback for one call of the engine.

        Parameters
        ----------
        label : str
            What is being restored, for example `DAPI, time 3 of 20`.
        n_voxels : int
            Observed voxels, over which the I-divergence is averaged.
        """
        before = self._done
        self._done += self._n_iters

        def show(i: int, info: Any) -> bool:
            # The sum over a batch of images is that of one image made of them all.
            divergence = float(info.i_divergence[..., -1].sum()) / n_voxels
            n_iters = info.n_iters  # less than planned where something else ended the run
            self._summary, self._told = self._line(label, i, n_iters, divergence), False
            if self._bar is not None:
                self._bar.update(
                    self._task,
                    completed=before + i,
                    description=f"{label} {i}/{n_iters}".strip(),
                    divergence=f"I-divergence {number(divergence)}",
                )
            else:
                last = i == n_iters
                self._quiet(last, before + (self._n_iters if last else i))
            return False

        return show

    def _line(self, label: str, i: int, n_iters: int, divergence: float) -> str:
        return (
            f"{'iteration':<12}{label + ': ' if label else ''}{i} of {n_iters}, "
            f"I-divergence {number(divergence)} per voxel"
        )

    def _quiet(self, last: bool, total: int) -> None:
        now = time.monotonic()
        if not last and now - self._last_line < _QUIET_SECONDS:
            return
        self._last_line, self._told = now, True
        ahead = self._n_items * self._n_iters - total
        left = (now - self._start) / total * ahead
        print(self._summary + (f", {in_time(left)} left" if ahead else ""), flush=True)


def _terminal_bar() -> Any:
    # Rich is imported only where there is a terminal to draw on.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[divergence]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    )
