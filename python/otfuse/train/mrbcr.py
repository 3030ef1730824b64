# SPDX-License-Identifier: BSD-3-Clause
"""What is m-rBCR's own in training: how pairs are prepared, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from otfuse.nn import mrbcr_loss
from otfuse.train.data import Pairs


@dataclass(frozen=True)
class MrbcrTask:
    """As published, but for flips and rotations by right angles, and the choice of spectrum.

    Attributes
    ----------
    spectrum : {"plane", "line"}
        See `otfuse.nn.mrbcr_loss`.
    noise : float
        Half of it is the largest standard deviation of the Gaussian noise added to inputs between
        0 and 1; 0 adds none.
    turn : bool
        Whether crops are flipped and rotated by right angles.
    """

    spectrum: str = "plane"
    noise: float = 0.05
    turn: bool = True
    name: str = "mrbcr"

    def crop(
        self, pairs: Pairs, extents: Sequence[int], at: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A crop at a random place of a random pair."""
        return pairs.crop(extents, rng)

    def prepare(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, training: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """A pair of crops between 0 and 1, each scaled on its own."""
        if not training:
            return _unit(x), _unit(y)
        if self.turn:
            turns, flip = int(rng.integers(4 if x.shape[-1] == x.shape[-2] else 1)), rng.integers(2)
            x, y = (np.rot90(a[..., :: -1 if flip else 1], turns, (-2, -1)) for a in (x, y))
        sigma = 0.5 * rng.uniform(0, self.noise)
        noisy = _unit(x) + sigma * rng.standard_normal(x.shape, np.float32)
        return _unit(noisy), _unit(y)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Of a batch, (n, 1, ny, nx)."""
        return mrbcr_loss(network(x), y, spectrum=self.spectrum)

    def restore(self, network: nn.Module, x: Tensor) -> Tensor:
        """The image at full resolution."""
        return network(x)[0]

    def rate(self, step: int, base: float) -> float:
        """The learning rate, which stays."""
        return base


def _unit(values: Any) -> np.ndarray:
    low, high = values.min(), values.max()
    scale = 1 / (high - low) if high > low else 0.0
    return np.ascontiguousarray((values - low) * scale, dtype=np.float32)
