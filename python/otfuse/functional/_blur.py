# SPDX-License-Identifier: BSD-3-Clause
"""The blur of a batch as an operator with its exact adjoint, for loops outside the core."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._geometry import Geometry, circular_geometry, extended_geometry
from otfuse.ops.fft_convolve import Windows, kernel_gradient


class Operator(Protocol):
    """A linear map from estimates (batch, estimate_shape...) to images, and its adjoint."""

    estimate_shape: tuple[int, ...]
    image_window: tuple[slice, ...]

    def forward(self, estimate: Tensor) -> Tensor: ...

    def adjoint(self, image: Tensor) -> Tensor: ...


class Blur:
    """PSFs (psfs, k...) on images of one shape: item b is blurred with psf (b // inner) % psfs."""

    def __init__(
        self, function: str, psf: Tensor, inner: int, shape: tuple[int, ...], boundary: str
    ) -> None:
        self.geometry: Geometry
        psf_shape = psf.shape[1:]
        if boundary == "extended":
            self.geometry = extended_geometry(shape, psf_shape)
        else:
            _checks.fits(function, psf_shape, shape)
            self.geometry = circular_geometry(shape, psf_shape)
        g = self.geometry
        self.psf, self.inner = psf, inner
        self._otf: Tensor | None = None  # no cached_property, whose lock is not traced
        self.estimate_shape, self.image_window = g.estimate_shape, g.image_window
        self._windows = Windows(
            g.grid, g.padded, g.estimate_offset, g.psf_offset, g.origin, g.image_shape
        )

    @property
    def otf(self) -> Tensor | None:
        """Of the PSFs; none where their values may not be looked at."""
        if self._otf is None and _checks.values_visible(self.psf):
            g = self.geometry
            self._otf = ops.make_otf(self.psf.detach(), g.grid, g.padded, g.psf_offset)
        return self._otf

    def loop_settings(
        self, n_iters: int, background: float, accelerated: bool, weighted: bool
    ) -> tuple[Any, ...]:
        """The arguments of a loop of the core that are not tensors; it can be gone on with."""
        g = self.geometry
        windows = (self.inner, g.grid, g.padded, g.psf_offset, g.estimate_offset)
        steps = (background, 0.0, n_iters, 0, "shb" if accelerated else "none")
        return (*windows, *steps, 0.0, [1.0] * len(g.grid), weighted, True, False)

    def with_psf(self, psf: Tensor) -> Blur:
        """The same operator with other PSFs of the same extents."""
        boundary = "extended" if self.geometry.padded else "circular"
        return Blur("", psf, self.inner, self.geometry.image_shape, boundary)

    def of_each(self, items: int) -> Blur:
        """The same operator with a PSF for each of so many items."""
        index = torch.arange(items, device=self.psf.device) // self.inner % self.psf.shape[0]
        each = self.with_psf(self.psf[index])
        each.inner = 1
        return each

    def forward(self, estimate: Tensor) -> Tensor:
        """What the camera would see of the estimate."""
        return ops.fft_convolve(estimate, self.psf, self.otf, self.inner, *self._windows, False)

    def adjoint(self, image: Tensor) -> Tensor:
        """The camera's values sent back to where their light can have come from."""
        back = self._windows.back(self.estimate_shape)
        return ops.fft_convolve(image, self.psf, self.otf, self.inner, *back, True)

    def psf_adjoint(self, image: Tensor, estimate: Tensor) -> Tensor:
        """Adjoint of psf -> forward(estimate), summed over the items that share a psf."""
        return kernel_gradient(image, estimate, self.psf, self.inner, self._windows, False)

    def per_psf(self, items: Tensor) -> Tensor:
        """Arrays of a PSF's extents, one for each item, summed over those that share a psf."""
        return items.reshape(-1, self.psf.shape[0], self.inner, *items.shape[1:]).sum((0, 2))
