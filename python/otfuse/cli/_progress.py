# SPDX-License-Identifier: BSD-3-Clause
"""How far the iterations are: a bar on a terminal, a quiet line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from otfuse.cli._bar import Bar
from otfuse.cli._report import in_time, number


class Progress(Bar):
    """Shows the iterations of a job; `item` gives the callback for one call of the engine.

    Parameters
    ----------
    n_items : int
        Calls of the engine in the whole job.
    n_iters : int
        Iterations of each.
    """

    def __init__(self, n_items: int, n_iters: int) -> None:
        super().__init__("start", n_items * n_iters, "divergence")
        self._n_items, self._n_iters = n_items, n_iters
        self._done = 0
        self._summary, self._told = "", True  # the last state in words, and whether it was shown

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
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
            self._update(
                f"{label} {i}/{n_iters}".strip(),
                before + i,
                self._n_items * self._n_iters,
                divergence=f"I-divergence {number(divergence)}",
            )
            last = i == n_iters
            if self._line_is_due(last):
                self._tell(before + (self._n_iters if last else i))
            return False

        return show

    def passed(self, label: str) -> None:
        """The last item is done, of whose iterations nothing was told."""
        total = self._n_items * self._n_iters
        self._update(label, self._done, total, divergence="")
        if self._n_items > 1 and self._line_is_due():
            left = (time.monotonic() - self._start) * (total / self._done - 1)
            print(f"{'restored':<12}{label}, {in_time(left)} left", flush=True)

    def _line(self, label: str, i: int, n_iters: int, divergence: float) -> str:
        return (
            f"{'iteration':<12}{label + ': ' if label else ''}{i} of {n_iters}, "
            f"I-divergence {number(divergence)} per voxel"
        )

    def _tell(self, total: int) -> None:
        self._told = True
        ahead = self._n_items * self._n_iters - total
        left = (time.monotonic() - self._start) / total * ahead
        print(self._summary + (f", {in_time(left)} left" if ahead else ""), flush=True)
