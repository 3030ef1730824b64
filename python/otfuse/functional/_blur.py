# SPDX-License-Identifier: BSD-3-Clause
"""The blur of a batch as an operator with its exact adjoint, for loops outside the core."""

from __future__ import annotations

from typing import Protocol

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
        self.estimate_shape, self.image_window = g.estimate_shape, g.image_window
        self._windows = Windows(
            g.grid, g.padded, g.estimate_offset, g.psf_offset, g.origin, g.image_shape
        )
        self._otf = None
        if _checks.values_visible(psf):
            self._otf = ops.make_otf(psf.detach(), g.grid, g.padded, g.psf_offset)

    def with_psf(self, psf: Tensor) -> Blur:
        """The same operator with other PSFs of the same extents."""
        boundary = "extended" if self.geometry.padded else "circular"
        return Blur("", psf, self.inner, self.geometry.image_shape, boundary)

    def forward(self, estimate: Tensor) -> Tensor:
        """What the camera would see of the estimate."""
        return ops.fft_convolve(estimate, self.psf, self._otf, self.inner, *self._windows, False)

    def adjoint(self, image: Tensor) -> Tensor:
        """The camera's values sent back to where their light can have come from."""
        back = self._windows.back(self.estimate_shape)
        return ops.fft_convolve(image, self.psf, self._otf, self.inner, *back, True)

    def psf_adjoint(self, image: Tensor, estimate: Tensor) -> Tensor:
        """Adjoint of psf -> forward(estimate), summed over the items that share a psf."""
        return kernel_gradient(image, estimate, self.psf, self.inner, self._windows, False)
