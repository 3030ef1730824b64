# SPDX-License-Identifier: BSD-3-Clause
"""Training RLN as published: crops of one volume a step, scaled by percentiles, its loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from otfuse.nn import rln_loss
from otfuse.nn.rln_scale import PERCENTS, IntensityScale
from otfuse.train.data import Pairs

_LATTICE = 8  # voxels between the places where a crop may begin
_BRIGHT = 0.8  # mean of a crop's target over that of its volume, at least
_VALIDATION_PERCENTS = (0.01, 99.8)
_DRAWS = 100  # a volume may hold too few bright crops, or none; the brightest drawn serves then


@dataclass(frozen=True)
class RlnTask:
    """RLN's side of the training loop.

    Attributes
    ----------
    decay, decay_steps : float, int
        The learning rate falls by this factor in so many steps, smoothly.
    """

    decay: float = 0.95
    decay_steps: int = 600
    name: str = "rln"

    def crop(
        self, pairs: Pairs, extents: Sequence[int], at: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A bright crop; each step has one pair, all in turn, in an order that the seed decides."""
        seed, step = at
        order = np.random.default_rng([seed, 2]).permutation(len(pairs))
        return bright_crop(pairs, int(order[step % len(pairs)]), extents, rng)

    def prepare(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, training: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """A pair of crops, each scaled by its own percentiles; the target not below 0."""
        scale_x = IntensityScale.of(x)
        scale_y = IntensityScale.of(y, PERCENTS if training else _VALIDATION_PERCENTS)
        x, y = scale_x.apply(x), np.maximum(scale_y.apply(y), 0)
        return x.astype(np.float32), y.astype(np.float32)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Of a batch, (n, 1, nz, ny, nx)."""
        prediction, estimate = network.restore_and_estimate(x)  # type: ignore[operator]
        # Sums over volumes want more than the eight bits of bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            return rln_loss(prediction.float(), estimate.float(), y, x)

    def restore(self, network: nn.Module, x: Tensor) -> Tensor:
        """The restored volumes."""
        return network(x)

    def rate(self, step: int, base: float) -> float:
        """The learning rate after `step` steps."""
        return base * self.decay ** (step / self.decay_steps)


def bright_crop(
    pairs: Pairs, which: int, extents: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop of one pair whose target is about as bright as all of it, or brighter.

    Parameters
    ----------
    pairs : Pairs
    which : int
        The pair.
    extents : sequence of int
        Of the crop.
    rng : numpy.random.Generator
    """
    x, y = pairs.inputs[which], pairs.targets[which]
    wanted, best = _BRIGHT * float(y.mean()), -np.inf
    chosen: tuple[slice, ...] = ()
    for _ in range(_DRAWS):
        steps = [(n - c) // _LATTICE + 1 for n, c in zip(y.shape, extents, strict=True)]
        starts = [_LATTICE * int(rng.integers(n)) for n in steps]
        place = tuple(slice(a, a + c) for a, c in zip(starts, extents, strict=True))
        mean = float(y[place].mean())
        if mean > best:
            best, chosen = mean, place
        if mean >= wanted:
            break
    return x[chosen], y[chosen]
