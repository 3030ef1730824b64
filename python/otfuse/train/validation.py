# SPDX-License-Identifier: BSD-3-Clause
"""How well a network does on pairs that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from otfuse.metrics import psnr, ssim
from otfuse.train.data import Pairs

if TYPE_CHECKING:
    from otfuse.train.loop import Task

_SHOWN = 3
_BATCH = 8


@dataclass(frozen=True)
class Found:
    """Means over the crops, and the first few as (input, restored, target)."""

    loss: float
    psnr: float
    ssim: float
    samples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]


class Validation:
    """The same crops each time.

    Parameters
    ----------
    pairs : Pairs
    task : Task
    count : int
        Crops, spread evenly over the pairs.
    crop : sequence of int
    seed : int
        Decides their places.
    """

    def __init__(
        self, pairs: Pairs, task: Task, count: int, crop: Sequence[int], seed: int
    ) -> None:
        self._task = task
        rng = np.random.default_rng([seed, 1])
        drawn: list[tuple[np.ndarray, np.ndarray]] = []
        for i in range(count):
            drawn.append(task.prepare(*pairs.crop(crop, rng, i % len(pairs)), rng, False))
        self._x, self._y = (np.stack([pair[i] for pair in drawn]) for i in range(2))

    def measure(self, network: nn.Module, device: torch.device) -> Found:
        """Loss, PSNR and SSIM, the latter two over crops whose target is not flat."""
        losses, restored = [], []
        with torch.no_grad():
            for first in range(0, len(self._x), _BATCH):
                x, y = (
                    torch.from_numpy(a[first : first + _BATCH])[:, None].to(device)
                    for a in (self._x, self._y)
                )
                losses += [float(self._task.loss(network, x, y))] * len(x)
                restored += list(self._task.restore(network, x)[:, 0].float().cpu().numpy())
        seen = [(y, z) for y, z in zip(self._y, restored, strict=True) if np.ptp(y) > 0]
        return Found(
            float(np.mean(losses)),
            float(np.mean([psnr(y, z) for y, z in seen])) if seen else 0.0,
            float(np.mean([ssim(y, z) for y, z in seen])) if seen else 0.0,
            [(self._x[i], restored[i], self._y[i]) for i in range(min(_SHOWN, len(self._x)))],
        )
