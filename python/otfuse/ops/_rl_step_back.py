# SPDX-License-Identifier: BSD-3-Clause
"""One iteration of the Richardson-Lucy loop, backwards.

With p the point that it starts from, B the back projector, W = 1 / H^T 1, D the damping,
    m = H p + b,  r = y / max(m, floor),  c = B^T r,  x' = p c W D
turns the gradient g of x' into
    g_p = g c W D + H^T g_m,  g_c = g p W D,  g_r = B g_c,  g_m = -g_r r / m,  g_y = g_r / m.
A back projector of its own has W = 1 and c = B^T r + 1 - B^T 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from otfuse.ops._total_variation import TotalVariation
from otfuse.ops.fft_convolve import Windows, fft_convolve, kernel_gradient, make_otf
from otfuse.ops.richardson_lucy_loop import LoopSettings, LoopTensors

_LEAST_WEIGHT = 0.01  # kLeastWeight of csrc/cpu/richardson_lucy.hpp


class State(NamedTuple):
    """What an iteration starts from (LoopTensors tells which), or the gradient in it."""

    estimate: Tensor
    previous: Tensor
    change: Tensor


class _Product(NamedTuple):
    """x' of an iteration."""

    result: Tensor
    kept: Tensor  # 0 where the result was clipped
    correction: Tensor


class _Point(NamedTuple):
    """What momentum leads to."""

    place: Tensor
    moved: Tensor  # 1 where nothing held it back
    halved: Tensor  # 1 where it was held at half the estimate


class Iteration:
    """The loop's fixed parts, an iteration backwards, and the gradients that add up."""

    def __init__(
        self, t: LoopTensors, s: LoopSettings, needs_kernel: bool, needs_back_kernel: bool
    ) -> None:
        self.tensors, self.settings = t, s
        image, origin = t.image, [0] * len(s.grid)
        place = (s.grid, s.padded, s.kernel_offset)
        self.otf = make_otf(t.kernel, *place) if t.otf is None else t.otf
        self.tensors = t._replace(otf=self.otf)
        self.otf_back = None if t.back_kernel is None else make_otf(t.back_kernel, *place)
        self.floor = t.floor.reshape(-1, *[1] * (image.ndim - 1))
        self._blurring = Windows(
            s.grid, s.padded, s.estimate_offset, s.kernel_offset, origin, image.shape[1:]
        )
        self._returning = self._blurring.back(t.estimate.shape[1:])
        self.observed = (image >= 0).to(image.dtype)
        self.grad_image = torch.zeros_like(image)
        self.grad_kernel = torch.zeros_like(t.kernel) if needs_kernel else None
        wanted = needs_back_kernel and t.back_kernel is not None
        self.grad_back_kernel = torch.zeros_like(t.kernel) if wanted else None
        mapped = t.background_map is not None
        self.grad_background = torch.zeros_like(image) if mapped else None
        self.weight, self._shift = image.new_ones(()), image.new_zeros(())
        self._grad_weight = image.new_zeros(())  # or in the shift
        if s.weighted:
            light = self._convolve(self.observed, True, True)
            if t.back_kernel is None:
                self.weight = torch.where(light > _LEAST_WEIGHT, 1 / light, 0)
            else:
                self._shift = 1 - light
        self.inside = (self.weight > 0).to(image.dtype)

    def _convolve(self, x: Tensor, back_projector: bool, adjoint: bool) -> Tensor:
        """With the blur's kernel or the back projector's, to the image or from it."""
        t, windows = self.tensors, self._returning if adjoint else self._blurring
        if back_projector and t.back_kernel is not None:
            kernel, otf = t.back_kernel, self.otf_back
        else:
            kernel, otf = t.kernel, self.otf
        result: Tensor = fft_convolve(x, kernel, otf, self.settings.inner, *windows, adjoint)
        return result

    def _add_kernel_gradient(
        self, grad: Tensor, of: Tensor, adjoint: bool, back_projector: bool = False
    ) -> None:
        unmatched = back_projector and self.tensors.back_kernel is not None
        total = self.grad_back_kernel if unmatched else self.grad_kernel
        if total is not None:
            windows, inner = self._returning if adjoint else self._blurring, self.settings.inner
            total += kernel_gradient(grad, of, self.tensors.kernel, inner, windows, adjoint)

    def start(self) -> tuple[State, Callable[[State], State]]:
        """The first state, and what turns gradients in it into those in the loop's arguments."""
        t, acceleration = self.tensors, self.settings.acceleration
        estimate = t.estimate * self.inside
        none = torch.zeros_like(estimate)
        previous = t.estimate if t.previous is None else t.previous
        moved = torch.ones_like(estimate)
        if acceleration == "biggs":
            moved = self.inside * (previous > self.floor)
            previous = self.inside * previous.maximum(self.floor)
        start = State(estimate, previous, none if t.change is None else t.change)

        def to_given(grad: State) -> State:
            grad_estimate, grad_previous = grad.estimate * self.inside, grad.previous * moved
            if t.previous is None:  # it was the estimate itself
                return State(grad_estimate + grad_previous, none, grad.change)
            return State(grad_estimate, grad_previous, grad.change)

        return start, to_given

    def _momentum(self, x: Tensor, before: Tensor, step: Tensor | float) -> _Point:
        """The point reached from `before` through x."""
        leap, half = x + step * (x - before), x / 2
        least = half.maximum(self.floor)
        moved = self.inside * (leap > least)
        halved = (self.inside - moved) * (half > self.floor)
        return _Point(self.inside * leap.maximum(least), moved, halved)

    def _expected(self, p: Tensor) -> Tensor:
        """What the camera would count, were the object p; not yet held at the floor."""
        expected = self._convolve(p, False, False) + self.settings.background
        background_map = self.tensors.background_map
        return expected if background_map is None else expected + background_map

    @staticmethod
    def _biggs_ratio(change: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """How far a change goes the way of the last one, and the square of that one."""
        axes = tuple(range(1, last.ndim))
        square = last.square().sum(axes, keepdim=True)
        safe = torch.where(square > 0, square, 1)
        return (change * last).sum(axes, keepdim=True) / safe, square

    def back(self, before: State, iteration: int, grad: State) -> State:
        """Gradient in the state that entered an iteration, given that in the one after."""
        x = before.estimate
        if self.settings.acceleration == "none":
            grad_p, grad_x = self._product_back(x, x, lambda _: grad.estimate)
            return State(grad_p + grad_x, torch.zeros_like(x), grad.change)
        if self.settings.acceleration == "shb":
            step = (iteration - 1) / (iteration + 2)
            p, moved, halved = self._momentum(x, before.previous, step)
            grad_p, grad_x = self._product_back(x, p, lambda _: grad.estimate)
            grad_x = grad_x + grad.previous + ((1 + step) * moved + halved / 2) * grad_p
            return State(grad_x, -step * moved * grad_p, grad.change)
        return self._biggs_back(before, grad)

    def _biggs_back(self, before: State, grad: State) -> State:
        """The next point and the change depend on x' too, and the step on sums over them."""
        x, p, last = before
        parts: list[Tensor] = []

        def grad_next(product: _Product) -> Tensor:
            after = product.result
            axes = tuple(range(1, x.ndim))
            change = after - p
            ratio, square = self._biggs_ratio(change, last)
            safe = torch.where(square > 0, square, 1)
            step = ratio.clamp(0, 1)
            free = ((ratio > 0) & (ratio < 1) & (square > 0)).to(x.dtype)
            _, moved, halved = self._momentum(after, x, step)
            grad_point = grad.previous * moved
            grad_half = grad.previous * halved / 2
            grad_step = free / safe * (grad_point * (after - x)).sum(axes, keepdim=True)
            grad_change = grad.change + grad_step * last
            parts.append(-step * grad_point)  # in x
            parts.append(-grad_change)  # in p
            parts.append(grad_step * (change - 2 * step * last))  # in the change before
            return grad.estimate + (1 + step) * grad_point + grad_half + grad_change

        grad_p, grad_x = self._product_back(x, p, grad_next)
        return State(grad_x + parts[0], grad_p + parts[1], parts[2])

    def _product_back(
        self, x: Tensor, p: Tensor, grad_of: Callable[[_Product], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Gradients in the point, and in the estimate by way of the damping."""
        t, s, floor = self.tensors, self.settings, self.floor
        expected = self._expected(p)
        above = (expected > floor).to(x.dtype)
        expected = expected.maximum(floor)
        ratio = self.observed * t.image / expected
        variation = None
        if s.tv > 0:
            variation = TotalVariation(x, s.tv, s.voxel, floor, s.padded)
        damping = x.new_ones(()) if variation is None else variation.damping
        product = self._product(p, self._convolve(ratio, True, True), damping)

        grad = grad_of(product) * product.kept
        correction = product.correction
        grad_correction = grad * p * self.weight * damping
        if s.weighted:
            by_weight = grad * p * damping
            by_weight = by_weight * correction if t.back_kernel is None else by_weight
            self._grad_weight = self._grad_weight + by_weight
        self._add_kernel_gradient(grad_correction, ratio, True, back_projector=True)
        grad_ratio = self._convolve(grad_correction, True, False) * self.observed
        self.grad_image += grad_ratio / expected
        grad_expected = -grad_ratio * ratio / expected * above
        if self.grad_background is not None:
            self.grad_background += grad_expected
        self._add_kernel_gradient(grad_expected, p, False)
        grad_p = grad * correction * self.weight * damping
        grad_p = grad_p + self._convolve(grad_expected, False, True)
        grad_x = torch.zeros_like(x)
        if variation is not None:
            grad_x = variation.gradient(grad * p * correction * self.weight)
        return grad_p, grad_x

    def _product(self, p: Tensor, correction: Tensor, damping: Tensor) -> _Product:
        if self.tensors.back_kernel is None:
            # What is negative is rounding: it goes, but the derivative is that of the equation.
            correction = correction.clamp(min=0)
            result = p * correction * self.weight * damping
            return _Product(result, p.new_ones(()), correction)
        correction = correction + self._shift
        result = p * correction * damping
        kept = (result > self.floor).to(p.dtype)
        return _Product(result.maximum(self.floor), kept, correction)

    def finish_weight(self) -> None:
        """W = 1 / H^T 1, or 1 - B^T 1, depends on the kernel too."""
        if self.settings.weighted:
            grad = -self._grad_weight * self.weight.square()
            self._add_kernel_gradient(grad, self.observed, True, back_projector=True)
