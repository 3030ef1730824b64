# SPDX-License-Identifier: BSD-3-Clause
"""How far a job of equal steps is: a bar on a terminal, a quiet line now and then elsewhere."""

from __future__ import annotations

import time

from otfuse.cli._bar import Bar
from otfuse.cli._report import in_time


class Steps(Bar):
    """Shows the steps of a job.

    Parameters
    ----------
    total : int
        Steps of the whole job.
    what : str
        Of what kind they are, for example `tiles`.
    """

    def __init__(self, total: int, what: str) -> None:
        super().__init__(what, total)
        self._total, self._what = total, what
        self._done, self._before = 0, 0

    def skip(self, n: int) -> None:
        """Tell that an earlier run has done n steps."""
        self._done, self._before = self._done + n, self._before + n

    def advance(self, n: int = 1, text: str = "") -> None:
        """Tell that n more steps are done, and what there is to say about them."""
        self._done += n
        label = f"{self._what} {self._done}/{self._total}{', ' + text if text else ''}"
        self._update(label, self._done, self._total)
        if self._line_is_due():
            new, ahead = self._done - self._before, self._total - self._done
            left = (time.monotonic() - self._start) / new * ahead
            print(f"{'progress':<12}{label}" + f", {in_time(left)} left" * (ahead > 0), flush=True)

    def reach(self, done: int, total: int) -> None:
        """Tell how many steps of how many are done, where that shows only on the way."""
        self._total = total
        self.advance(done - self._done)
