# SPDX-License-Identifier: BSD-3-Clause
"""The total variation's part in an update, as csrc/cpu/total_variation.hpp has it, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LEAST_DIVISOR, _FLAT_FLOORS = 0.1, 1e3  # kLeastDivisor and kFlatFloors there


class TotalVariation:
    """1 / max(1 - tv div(grad x / |grad x|), 0.1) of estimates on a periodic domain.

    Parameters
    ----------
    estimate : Tensor, shape (batch, spatial...)
    tv : float
    voxel : sequence of float
        Edges of a voxel.
    floor : Tensor, shape (batch, 1...)
    framed : bool
        Whether there is nothing but zeros around the domain: then it is not periodic.
    """

    def __init__(
        self, estimate: Tensor, tv: float, voxel: Sequence[float], floor: Tensor, framed: bool
    ) -> None:
        self._tv, self._voxel, self._framed = tv, list(voxel), framed
        self._axes = list(range(1, estimate.ndim))
        x = self._frame(estimate)
        self._steps = [self._forward(x, a) for a in self._axes]
        squares = sum(g.square() for g in self._steps) + (_FLAT_FLOORS * floor) ** 2
        self._slope = squares.sqrt()
        flows = (g / self._slope for g in self._steps)
        minus_divergence = self._gather(flows)
        self._divisor = 1 + tv * self._unframe(minus_divergence)
        self.damping = 1 / self._divisor.clamp(min=_LEAST_DIVISOR)

    def gradient(self, grad: Tensor) -> Tensor:
        """Gradient in the estimate, given that in the damping."""
        kept = (self._divisor > _LEAST_DIVISOR).to(grad.dtype)
        inward = self._frame(-self._tv * grad * self.damping.square() * kept)
        flows = [self._forward(inward, a) for a in self._axes]
        along = sum(f * g for f, g in zip(flows, self._steps, strict=True)) / self._slope**3
        steps = (f / self._slope - g * along for f, g in zip(flows, self._steps, strict=True))
        return self._unframe(self._gather(steps))

    def _frame(self, array: Tensor) -> Tensor:
        """One voxel of zeros behind each axis keeps the ends of the domain apart."""
        if not self._framed:
            return array
        return torch.nn.functional.pad(array, (0, 1) * len(self._axes))

    def _unframe(self, array: Tensor) -> Tensor:
        for axis in self._axes if self._framed else ():
            array = array.narrow(axis, 0, array.shape[axis] - 1)
        return array

    def _forward(self, array: Tensor, axis: int) -> Tensor:
        """Difference with the next voxel, in units of length."""
        return (array.roll(-1, axis) - array) / self._voxel[axis - 1]

    def _gather(self, steps: object) -> Tensor:
        """Sum of the adjoints of `_forward`: minus the divergence."""
        total: Tensor | None = None
        for axis, step in zip(self._axes, steps, strict=True):  # type: ignore[call-overload]
            part = (step.roll(1, axis) - step) / self._voxel[axis - 1]
            total = part if total is None else total + part
        assert total is not None
        return total
