# SPDX-License-Identifier: BSD-3-Clause
"""What cameras saw of one object: checked, flattened to one batch axis, padded, ready to loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from otfuse import _checks
from otfuse.functional._arrays import to_tensor, working_dtype
from otfuse.functional._blur import Blur, Operator
from otfuse.functional._geometry import BOUNDARIES, common_batch, match_batch, reflect_pad
from otfuse.functional.otf import spatial_ndim
from otfuse.functional.plan import reflected_widths


class View(NamedTuple):
    """A caller's arrays for one view; `place` follows their names in messages."""

    image: Any
    psf: Any
    mask: Any = None
    background: Any = 0.0
    place: int | None = None

    def name(self, kind: str) -> str:
        """What the caller calls the array of this kind."""
        if self.place is None:
            return kind
        several = {"image": "views", "psf": "psfs", "mask": "masks", "background": "background"}
        return f"{several[kind]}[{self.place}]"


@dataclass(frozen=True)
class Camera:
    """One view on the grid of its operator: image = forward(object) + background, where seen."""

    image: Tensor  # (batch, spatial...), 0 where not seen
    background: Tensor  # broadcasts against the image
    seen: Tensor | None  # 1 or 0; None is 1 everywhere
    blur: Operator

    @property
    def counts(self) -> Tensor:
        """The image as the core's loops want it: negative where nothing was observed."""
        return self.image if self.seen is None else torch.where(self.seen > 0, self.image, -1)

    def only_seen(self, image: Tensor) -> Tensor:
        """The image with zeros where nothing was observed."""
        return image if self.seen is None else image * self.seen


def backgrounds(cameras: Sequence[Camera]) -> tuple[float, Tensor | None]:
    """One level that is every camera's, or 0 and their arrays one behind another."""
    levels = [c.background for c in cameras]
    if all(b.ndim == 0 and _checks.values_visible(b) and b == levels[0] for b in levels):
        return float(levels[0]), None
    return 0.0, torch.cat([c.background.expand(c.image.shape) for c in cameras])


@dataclass(frozen=True)
class Job:
    """Cameras that see one object, and the way back to the caller's shape."""

    cameras: list[Camera]
    batch: tuple[int, ...]
    cut: tuple[slice, ...] = ()  # of the caller's images in padded ones

    def finish(self, estimate: Tensor) -> Tensor:
        """The estimate where the image is, in the caller's batch."""
        inside = estimate[self.cameras[0].blur.image_window]
        return self._uncut(inside.reshape(*self.batch, *inside.shape[1:]))

    def _uncut(self, image: Tensor) -> Tensor:
        return image[(slice(None),) * (image.ndim - len(self.cut)) + self.cut]

    def mean(self, of: Callable[[Camera], Tensor]) -> Tensor:
        """Mean of each item over all that was seen; spatial axes are kept."""
        axes = tuple(range(1, self.cameras[0].image.ndim))
        total = count = self.cameras[0].image.new_zeros(())
        for camera in self.cameras:
            part = self._uncut(camera.only_seen(of(camera)))
            ones = self._uncut(camera.only_seen(torch.ones_like(camera.image)))
            total = part.sum(axes, keepdim=True) + total
            count = ones.sum(axes, keepdim=True) + count
        return total / count.clamp(min=1)


def prepare(
    function: str, views: Sequence[View], boundary: str, ndim: int | None, *, counts: bool
) -> Job:
    """Check the arrays of all views and bring them to one batch, shape and grid.

    With `counts`, images are refused where negative and PSFs are normalised to sum 1.
    """
    _checks.one_of(function, "boundary", boundary, BOUNDARIES)
    psfs = [to_tensor(function, v.name("psf"), v.psf) for v in views]
    ndim = spatial_ndim(function, psfs[0], ndim)
    images, seens = checked_images(function, views, ndim, counts=counts)
    first = images[0]
    psfs = [
        _checked_psf(function, v, h, first, ndim, counts) for v, h in zip(views, psfs, strict=True)
    ]
    psfs = _same_extents(psfs, ndim)
    batch = _common_batch(function, views, first, psfs, ndim)
    shape = tuple(first.shape[-ndim:])
    widths = [(0, 0)] * ndim
    cut: tuple[slice, ...] = ()
    if boundary == "reflect":
        widths = reflected_widths(shape, psfs[0].shape[-ndim:])
        cut = tuple(slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True))

    def flat(array: Tensor) -> Tensor:
        whole = array.expand(*batch, *shape).reshape(-1, *shape)
        return reflect_pad(whole, widths) if cut else whole

    cameras = []
    for view, image, seen, psf in zip(views, images, seens, psfs, strict=True):
        matched = match_batch(function, image.expand(*batch, *shape), psf, ndim)
        background = checked_background(function, view, image)
        y = flat(image)
        blur = Blur(function, matched.psf, matched.inner, tuple(y.shape[1:]), boundary)
        level = flat(background) if background.ndim else background
        cameras.append(Camera(y, level, None if seen is None else flat(seen), blur))
    return Job(cameras, batch, cut)


def checked_images(
    function: str, views: Sequence[View], ndim: int, *, counts: bool
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Images of one shape in the working type, zero where hidden, and what of them was seen."""
    images: list[Tensor] = []
    seens: list[Tensor | None] = []
    for view in views:
        y = to_tensor(function, view.name("image"), view.image)
        first = images[0] if images else y
        _checks.same_device(function, view.name("image"), y, first)
        _checks.spatial_axes(function, view.name("image"), y, ndim)
        if y.shape != first.shape:
            raise ValueError(
                f"{function}: views must have one shape, got {tuple(first.shape)} and "
                f"{tuple(y.shape)}; register and resample them to a common grid first"
            )
        y = y.to(working_dtype(first))
        observed = observed_pixels(function, view.name("mask"), view.mask, y)
        seen = None if observed is None else observed.to(y.dtype)
        if observed is not None:
            y = torch.where(observed, y, 0)
        if _checks.values_visible(y) and counts:
            _checks.nonnegative_image(function, y, view.name("image"))
        elif _checks.values_visible(y):
            _checks.finite_values(function, view.name("image"), y)
        images.append(y)
        seens.append(seen)
    return images, seens


def observed_pixels(function: str, name: str, mask: Any, image: Tensor) -> Tensor | None:
    """Where a mask lets the image count, true or false; None is everywhere."""
    if mask is None:
        return None
    observed = to_tensor(function, name, mask) != 0
    _checks.same_device(function, name, observed, image)
    try:
        observed = observed.expand(image.shape)
    except RuntimeError:
        raise ValueError(
            f"{function}: {name} must broadcast against the image, got shapes "
            f"{tuple(observed.shape)} and {tuple(image.shape)}"
        ) from None
    if observed.numel() and _checks.values_visible(observed) and not bool(observed.any()):
        raise ValueError(f"{function}: {name} must leave some pixels, got one that hides them all")
    return observed


def checked_background(function: str, view: View, image: Tensor) -> Tensor:
    """The background as a tensor that broadcasts against the image."""
    name = view.name("background")
    if isinstance(view.background, int | float):
        return image.new_full((), _checks.finite_number(function, name, view.background))
    background = to_tensor(function, name, view.background).to(image.dtype)
    _checks.same_device(function, name, background, image)
    if _checks.values_visible(background):
        _checks.finite_values(function, name, background)
    try:
        return background.expand(image.shape)
    except RuntimeError:
        raise ValueError(
            f"{function}: {name} must be a number or broadcast against the image, got shapes "
            f"{tuple(background.shape)} and {tuple(image.shape)}"
        ) from None


def _checked_psf(
    function: str, view: View, psf: Tensor, image: Tensor, ndim: int, counts: bool
) -> Tensor:
    name = view.name("psf")
    _checks.same_device(function, name, psf, image)
    if spatial_ndim(function, psf, ndim) != ndim or psf.ndim < ndim:
        raise ValueError(f"{function}: {name} must have {ndim} axes, got {tuple(psf.shape)}")
    psf = psf.to(image.dtype)
    if not counts:
        if _checks.values_visible(psf):
            _checks.finite_values(function, name, psf)
        return psf
    if _checks.values_visible(psf):
        _checks.light_psf(function, psf, ndim, name)
    return psf / psf.sum(tuple(range(-ndim, 0)), keepdim=True)


def _same_extents(psfs: list[Tensor], ndim: int) -> list[Tensor]:
    """PSFs with zeros around them up to the largest, their centres k // 2 on one another."""
    extents = [max(psf.shape[axis] for psf in psfs) for axis in range(-ndim, 0)]
    grown = []
    for psf in psfs:
        sizes = zip(extents, psf.shape[-ndim:], strict=True)
        widths = [(n // 2 - k // 2, n - k - (n // 2 - k // 2)) for n, k in sizes]
        flat = [w for both in reversed(widths) for w in both]
        grown.append(torch.nn.functional.pad(psf, flat) if any(flat) else psf)
    return grown


def _common_batch(
    function: str, views: Sequence[View], image: Tensor, psfs: Sequence[Tensor], ndim: int
) -> tuple[int, ...]:
    """Leading axes of the images broadcast against those of every PSF."""
    batch = tuple(image.shape[:-ndim])
    for view, psf in zip(views, psfs, strict=True):
        batch = common_batch(function, batch, psf.shape[:-ndim], view.name("psf"))
    return batch
