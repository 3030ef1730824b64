# SPDX-License-Identifier: BSD-3-Clause
"""How a volume is restored, whichever way is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from otfuse.cli._steps import Steps
    from otfuse.tiling import TilePlan

# The first row of a block, and the block (rows, nz, nx).
WriteRows = Callable[[int, np.ndarray], None]
# The views of one volume, (nz, ny, nx) each, where results go, and where steps are told.
Restore = Callable[[Sequence[np.ndarray], WriteRows, "Steps"], None]


class Work(NamedTuple):
    """What restores each volume of a stack.

    Attributes
    ----------
    restore : callable
    n_steps : int
        Of one volume.
    steps : str
        What they are.
    plan : TilePlan, optional
        Where tiles meet.
    """

    restore: Restore
    n_steps: int = 1
    steps: str = "tiles"
    plan: TilePlan | None = None
