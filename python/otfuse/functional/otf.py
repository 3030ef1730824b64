# SPDX-License-Identifier: BSD-3-Clause
"""A PSF prepared once for images of one shape."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import to_tensor, working_dtype
from otfuse.functional._geometry import (
    BOUNDARIES,
    Geometry,
    circular_geometry,
    extended_geometry,
)


def convolution_geometry(
    function: str, boundary: str, shape: Sequence[int], psf_shape: Sequence[int]
) -> Geometry:
    """Windows for images of `shape`; `reflect` convolves its padded image like `extended`."""
    _checks.one_of(function, "boundary", boundary, BOUNDARIES)
    if boundary == "circular":
        _checks.fits(function, psf_shape, shape)
        return circular_geometry(shape, psf_shape)
    return extended_geometry(shape, psf_shape)


class Otf:
    """A point spread function with its spectrum, for images of one spatial shape.

    Pass it to `fft_convolve` in place of the psf to save making the spectrum on each call. The
    order of the spectrum's digits is private: pickling, `.to()` and another instruction set
    move the PSF and make the spectrum anew.

    Parameters
    ----------
    psf : array, shape (..., kz, ky, kx)
        Centre at k // 2. Leading axes broadcast against the image's. A psf that requires
        gradients keeps its graph.
    shape : sequence of int
        Spatial shape of the images, as many axes as `ndim`.
    boundary : {"circular", "extended", "reflect"}
        As in `fft_convolve`; "circular" by default.
    ndim : int, optional
        Number of spatial axes, by default that of `psf`.

    Raises
    ------
    ValueError
        If the psf is larger than `shape` with a circular boundary, has NaN or infinite values,
        or an axis is empty.
    TypeError
        If the psf is complex or not an array of numbers.
    """

    def __init__(
        self,
        psf: Any,
        shape: Sequence[int],
        *,
        boundary: str = "circular",
        ndim: int | None = None,
    ) -> None:
        tensor = to_tensor("Otf", "psf", psf)
        self.psf = tensor.to(working_dtype(tensor))
        self.ndim = spatial_ndim("Otf", self.psf, ndim)
        self.shape = tuple(shape)
        self.boundary = boundary
        if len(self.shape) != self.ndim:
            raise ValueError(f"Otf: shape must have {self.ndim} axes, got {self.shape}")
        for n in self.shape:
            _checks.at_least("Otf", "shape", n, 1)
        if _checks.values_visible(self.psf):
            _checks.finite_values("Otf", "psf", self.psf)
        self.geometry = convolution_geometry(
            "Otf", boundary, self.shape, self.psf.shape[-self.ndim :]
        )
        self._made: tuple[tuple[str, int], Tensor] | None = None

    @property
    def spectrum(self) -> Tensor:
        """The spectrum in the engine's private order, one row a PSF.

        Made anew where the psf was changed in its place, as an optimizer does.
        """
        made_of = ops.simd_level(), 0 if self.psf.is_inference() else self.psf._version
        if self._made is None or self._made[0] != made_of:
            g = self.geometry
            kernels = self.psf.detach().reshape(-1, *g.psf_shape)
            otf = ops.make_otf(kernels, g.grid, g.padded, g.psf_offset)
            self._made = made_of, otf
        return self._made[1]

    def to(self, *args: Any, **kwargs: Any) -> Otf:
        """The same PSF on another device or in another type; arguments as `Tensor.to`."""
        psf = self.psf.to(*args, **kwargs)
        return Otf(psf, self.shape, boundary=self.boundary, ndim=self.ndim)

    def __deepcopy__(self, memo: dict[int, Any]) -> Otf:
        """One of the copy of the psf, so that a copied module goes on learning it."""
        psf = copy.deepcopy(self.psf, memo) if self.psf.is_leaf else self.psf.detach().clone()
        return _rebuild(psf, self.shape, self.boundary, self.ndim)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.psf.detach(), self.shape, self.boundary, self.ndim)

    def __repr__(self) -> str:
        return (
            f"Otf(psf={tuple(self.psf.shape)}, shape={self.shape}, boundary={self.boundary!r}, "
            f"dtype={self.psf.dtype}, device={self.psf.device})"
        )


def _rebuild(psf: Tensor, shape: tuple[int, ...], boundary: str, ndim: int) -> Otf:
    return Otf(psf, shape, boundary=boundary, ndim=ndim)


def spatial_ndim(function: str, psf: Tensor, ndim: int | None) -> int:
    """The number of spatial axes: given, or the PSF's own."""
    if ndim is None and psf.ndim not in (2, 3):
        raise ValueError(
            f"{function}: psf must have 2 or 3 axes, got shape {tuple(psf.shape)}; "
            "say with ndim= how many of its last axes are spatial"
        )
    if ndim is None:
        ndim = psf.ndim
    if ndim not in (1, 2, 3):
        raise ValueError(f"{function}: ndim must be 1, 2 or 3, got {ndim!r}")
    _checks.spatial_axes(function, "psf", psf, ndim)
    return ndim
