# SPDX-License-Identifier: BSD-3-Clause
"""How much tiles show in what was blended from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from otfuse.functional._arrays import to_tensor, working_dtype
from otfuse.tiling.plan import TilePlan


@dataclass(frozen=True)
class Seam:
    """Steps between neighbouring voxels where tiles take over, and elsewhere; root mean squares.

    Attributes
    ----------
    across, elsewhere : float
        In the image's unit.
    """

    across: float
    elsewhere: float

    @property
    def ratio(self) -> float:
        """1 where tiles do not show, above it where they do."""
        return self.across / self.elsewhere if self.elsewhere > 0 else 1.0


def seam_size(plan: TilePlan, whole: Any) -> Seam:
    """Compare steps in the middle of where tiles take over with the steps four voxels beside.

    Parameters
    ----------
    plan : TilePlan
    whole : array, shape (..., *plan.shape)

    Returns
    -------
    Seam  of zeros where there is one tile.
    """
    values = to_tensor("seam_size", "whole", whole)
    values = values.to(working_dtype(values))
    total, count = [0.0, 0.0], [0, 0]
    for axis, starts in enumerate(plan.starts):
        line, extent = values.movedim(axis - plan.ndim, 0), plan.shape[axis]
        for i in range(1, len(starts)):
            middle = sum(plan.ramp(axis, i)) // 2
            for kind, x in ((0, middle), (1, middle - 4), (1, middle + 4)):
                if 0 < x < extent:
                    step = line[x] - line[x - 1]
                    total[kind] += float(step.square().sum())
                    count[kind] += step.numel()
    across, elsewhere = ((t / n) ** 0.5 if n else 0.0 for t, n in zip(total, count, strict=True))
    return Seam(across, elsewhere)
