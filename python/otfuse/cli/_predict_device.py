# SPDX-License-Identifier: BSD-3-Clause
"""Tiles of a volume through a network on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from otfuse.nn.rln_scale import IntensityScale
    from otfuse.tiling import Tile


@dataclass(frozen=True)
class RowTiles:
    """Stages for tiles over (y, z, x), of which all views were read and scaled.

    Attributes
    ----------
    network : RLN
    scale : IntensityScale, optional
        That the results are put back to.
    """

    network: Any
    scale: IntensityScale | None

    def prepare(self, tile: Tile, counts: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The views, (z, y, x)."""
        return counts

    def compute(self, tile: Tile, arrays: Sequence[Tensor]) -> Tensor:
        """The restored tile, (z, y, x)."""
        result: Tensor = self.network.restore(*arrays)
        return result

    def finish(self, result: np.ndarray) -> np.ndarray:
        """The restored tile, (y, z, x)."""
        if self.scale is not None:
            self.scale.to_image(result)
        return result.transpose(1, 0, 2)
