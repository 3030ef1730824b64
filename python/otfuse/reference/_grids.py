# SPDX-License-Identifier: BSD-3-Clause
"""Working types, spectra, reflected padding and crops that the reference functions share."""

from __future__ import annotations

import torch
from torch import Tensor


def working(array: Tensor) -> Tensor:
    """Return `array` in the type that is computed in: float64 stays, the rest is float32."""
    tensor = torch.as_tensor(array)
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def pair(image: Tensor, psf: Tensor, ndim: int | None) -> tuple[Tensor, Tensor, int]:
    """Return image and psf in the image's working type, and the number of spatial axes."""
    image = working(image)
    psf = torch.as_tensor(psf).to(image.dtype)
    return image, psf, psf.ndim if ndim is None else ndim


def spatial(tensor: Tensor, ndim: int) -> tuple[int, ...]:
    """Return the last `ndim` extents."""
    return tuple(tensor.shape[tensor.ndim - ndim :])


def axes(ndim: int) -> tuple[int, ...]:
    """Return the spatial axes, counted from the end."""
    return tuple(range(-ndim, 0))


def centres(psf: Tensor, ndim: int) -> tuple[int, ...]:
    """Return where the middle of the PSF lies, k // 2 on each axis."""
    return tuple(k // 2 for k in spatial(psf, ndim))


def leads(psf: Tensor, ndim: int) -> tuple[int, ...]:
    """Return how many voxels of blur lie before the image, k - 1 - k // 2 on each axis."""
    return tuple(k - 1 - k // 2 for k in spatial(psf, ndim))


def place(tensor: Tensor, offsets: tuple[int, ...], extents: tuple[int, ...]) -> Tensor:
    """Return zeros of `extents` that hold `tensor` at `offsets`; the adjoint of `crop`."""
    sizes = spatial(tensor, len(extents))
    widths = [(o, n - o - s) for o, n, s in zip(offsets, extents, sizes, strict=True)]
    return torch.nn.functional.pad(tensor, [w for both in reversed(widths) for w in both])


def place_ends(tensor: Tensor, offsets: tuple[int, ...], extents: tuple[int, ...]) -> Tensor:
    """Return `tensor` at `offsets` in `extents`, its end values carried on around it."""
    for axis, offset, extent in zip(axes(len(extents)), offsets, extents, strict=True):
        places = torch.arange(extent, device=tensor.device) - offset
        tensor = tensor.index_select(axis, places.clamp(0, tensor.shape[axis] - 1))
    return tensor


def crop(tensor: Tensor, offsets: tuple[int, ...], extents: tuple[int, ...]) -> Tensor:
    """Return the box of `extents` that begins at `offsets`."""
    for axis, offset, extent in zip(axes(len(extents)), offsets, extents, strict=True):
        tensor = tensor.narrow(axis, offset, extent)
    return tensor


def reflected(n: int, before: int, after: int) -> Tensor:
    """Return the indices that pad an axis of `n` as numpy's mode "reflect", by any width."""
    period = max(2 * (n - 1), 1)
    index = torch.arange(-before, n + after) % period
    return torch.where(index < n, index, period - index)


def pad_reflect(tensor: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """Return `tensor` padded by reflection without repeating the edge."""
    for axis, b, a in zip(axes(len(before)), before, after, strict=True):
        index = reflected(tensor.shape[axis], b, a).to(tensor.device)
        tensor = tensor.index_select(axis, index)
    return tensor


def fold_reflect(tensor: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """Return the adjoint of `pad_reflect`: padded voxels add to those they were copied from."""
    for axis, b, a in zip(axes(len(before)), before, after, strict=True):
        extents = list(tensor.shape)
        extents[axis] -= b + a
        index = reflected(extents[axis], b, a).to(tensor.device)
        tensor = tensor.new_zeros(extents).index_add(axis, index, tensor)
    return tensor


def smooth_extent(n: int) -> int:
    """Return the smallest number of at least `n` that has no prime factor above 7."""
    while True:
        rest = n
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def smooth_margins(shape: tuple[int, ...], psf: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths before and after an image so that a periodic blur does not wrap into it."""
    before = leads(psf, len(shape))
    extents = [n + k - 1 for n, k in zip(shape, spatial(psf, len(shape)), strict=True)]
    grid = [smooth_extent(n) for n in extents]
    after = tuple(g - n - b for g, n, b in zip(grid, shape, before, strict=True))
    return before, after


def spectrum(psf: Tensor, grid: tuple[int, ...], *, centred: bool) -> Tensor:
    """Return the PSF's half spectrum on `grid`, its middle (or its first voxel) at the origin."""
    dims = axes(len(grid))
    placed = place(psf, (0,) * len(grid), grid)
    if centred:
        placed = placed.roll([-c for c in centres(psf, len(grid))], dims)
    half: Tensor = torch.fft.rfftn(placed, dim=dims)
    return half


def multiply(tensor: Tensor, transfer: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return the real array on `grid` whose half spectrum is that of `tensor` times `transfer`."""
    dims = axes(len(grid))
    product = torch.fft.rfftn(tensor, dim=dims) * transfer
    back: Tensor = torch.fft.irfftn(product, s=grid, dim=dims)
    return back
