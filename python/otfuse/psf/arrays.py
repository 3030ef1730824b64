# SPDX-License-Identifier: BSD-3-Clause
"""What is done to a PSF that is an array already: centring, resampling, cropping, slicing."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from otfuse.functional._arrays import listed

# Displacements below this many voxels are left alone.
_NEGLIGIBLE = 1e-3


def center(psf: Any, how: str = "peak") -> tuple[Any, tuple[float, ...]]:
    """Return the PSF moved so that its centre lies at k // 2, and the move in voxels.

    Whole voxels are moved exactly, with zeros coming in at the edge; the rest is a Fourier shift
    of the PSF continued by its mirror image, so an axis along which it does not decay stays whole.

    Parameters
    ----------
    psf : array, shape (ky, kx) or (kz, ky, kx)
        PSF with its centre anywhere.
    how : "peak", "centroid" or "none"
        Which point is the centre: the brightest, refined between voxels by a Gaussian through its
        neighbours; the centre of mass; or k // 2 as it is.

    Returns
    -------
    (array, tuple of float)
        The PSF, of the same kind, shape and sum, and the displacement along each axis.

    Raises
    ------
    ValueError  if how is unknown or the PSF holds no light.
    """
    tensor = as_tensor("center", psf, 1)
    if how == "none":
        return psf, (0.0,) * tensor.ndim
    light = tensor.detach().double().clamp(min=0)
    if how not in ("peak", "centroid"):
        raise ValueError(f"center: how must be 'peak', 'centroid' or 'none', got {how!r}")
    if not float(light.sum()) > 0:
        raise ValueError("center: psf must hold some light, got no positive value")
    found = peak(light) if how == "peak" else centroid(light)
    shift = tuple(n // 2 - place for n, place in zip(tensor.shape, found, strict=True))
    moved = tensor
    for axis, distance in enumerate(shift):
        whole = round(distance)
        moved = _shift_whole(shift_part(moved, axis, distance - whole), axis, whole)
    if moved is tensor:
        return psf, shift
    if not bool((tensor.detach() < 0).any()):
        moved = moved.clamp(min=0)
    return like(_rescale(moved, tensor.sum()), psf), shift


def resample(psf: Any, voxel_from: Sequence[float], voxel_to: Sequence[float]) -> Any:
    """Return the PSF on voxels of another size.

    Cubic spline interpolation about the centre at k // 2: the new voxels hold the intensity at
    their centres, like the models of this package, not its mean over a larger pixel.

    Parameters
    ----------
    psf : array, shape (..., kz, ky, kx)
        PSF, centre at k // 2.
    voxel_from, voxel_to : sequence of float
        Edges of a voxel of the PSF and of the image, one per spatial axis, same unit.

    Returns
    -------
    array
        Of the same kind, sum and physical extent, centre at k // 2; the PSF itself where the
        voxel sizes agree.  Differentiable in: psf.

    Raises
    ------
    ValueError  if the voxel sizes are not positive or their number fits no PSF.
    """
    old, new = tuple(map(float, voxel_from)), tuple(map(float, voxel_to))
    for name, edges in (("voxel_from", old), ("voxel_to", new)):
        if not edges or not all(math.isfinite(d) and d > 0 for d in edges):
            raise ValueError(f"resample: {name} must hold positive lengths, got {edges}")
    if len(old) != len(new):
        raise ValueError(
            f"resample: voxel_to must have as many lengths as voxel_from, got {new} and {old}"
        )
    tensor = as_tensor("resample", psf, len(old))
    result = tensor
    for axis, (before, after) in enumerate(zip(old, new, strict=True), tensor.ndim - len(old)):
        if not math.isclose(before, after, rel_tol=1e-6) and tensor.shape[axis] > 1:
            matrix = spline_matrix(tensor.shape[axis], after / before)
            result = torch.tensordot(result, matrix.to(tensor), ([axis], [1])).movedim(-1, axis)
    if result is tensor:
        return psf
    if not bool((tensor.detach() < 0).any()):
        result = result.clamp(min=0)
    axes = tuple(range(-len(old), 0))
    return like(_rescale(result, tensor.sum(axes, keepdim=True), axes), psf)


def crop(psf: Any, max_shape: Sequence[int]) -> tuple[Any, float]:
    """Return the PSF cut down to at most `max_shape` about its centre, and the light that it lost.

    Parameters
    ----------
    psf : array, shape (..., kz, ky, kx)
        PSF, centre at k // 2.
    max_shape : sequence of int
        Largest extents allowed, one per spatial axis.

    Returns
    -------
    (array, float)
        The PSF, of the same kind, centre at k // 2, scaled to the sum it had; and the fraction of
        that sum that lay outside.

    Raises
    ------
    ValueError  if an extent is not positive.
    """
    limits = tuple(int(n) for n in max_shape)
    if not limits or min(limits) < 1:
        raise ValueError(f"crop: max_shape must hold positive integers, got {tuple(max_shape)}")
    tensor = as_tensor("crop", psf, len(limits))
    result = tensor
    for axis, limit in enumerate(limits, tensor.ndim - len(limits)):
        k = tensor.shape[axis]
        if limit < k:
            result = result.narrow(axis, k // 2 - limit // 2, limit)
    if result is tensor:
        return psf, 0.0
    axes = tuple(range(-len(limits), 0))
    whole = tensor.sum(axes, keepdim=True)
    kept = result.detach().double().sum() / tensor.detach().double().sum()
    return like(_rescale(result, whole, axes), psf), 1 - float(kept)


def crop_to_energy(
    psf: Any, energy: float = 0.99, *, axes: Sequence[int] | None = None
) -> tuple[Any, float]:
    """Return the PSF cut down, about its centre, to what holds a fraction of its light.

    Each of the axes may lose an equal part of the rest. A widefield PSF does not decay along z:
    leave it whole there, `axes=(-2, -1)`.

    Parameters
    ----------
    psf : array, shape (ky, kx) or (kz, ky, kx)
        PSF, centre at k // 2.
    energy : float
        Fraction of the light to keep at least, above 0 and at most 1.
    axes : sequence of int, optional
        Axes that may be cut; all if not given.

    Returns
    -------
    (array, float)
        As `crop`: the PSF, of the same kind, sum and centre, and the fraction of it that was lost.

    Raises
    ------
    ValueError  if energy is not a fraction or the PSF holds no light.
    """
    tensor = as_tensor("crop_to_energy", psf, 1)
    light = tensor.detach().double().clamp(min=0)
    if not 0 < energy <= 1:
        raise ValueError(f"crop_to_energy: energy must be above 0 and at most 1, got {energy:g}")
    if not float(light.sum()) > 0:
        raise ValueError("crop_to_energy: psf must hold some light, got no positive value")
    cut = {a % light.ndim for a in (range(light.ndim) if axes is None else axes)}
    limits = list(light.shape)
    for axis in cut:
        n = light.shape[axis]
        line = light.sum([a for a in range(light.ndim) if a != axis])
        distance = (torch.arange(n, device=light.device) - n // 2).abs()
        held = torch.zeros(n // 2 + 1, dtype=light.dtype, device=light.device)
        held = held.index_add(0, distance, line).cumsum(0)
        # A rounding error must not ask for the whole of a PSF that is dark outside.
        wanted = (1 - (1 - energy) / len(cut)) * held[-1] * (1 - 1e-12)
        limits[axis] = min(n, 2 * int((held < wanted).sum()) + 1)
    return crop(psf, limits)


def in_focus_slice(psf: Any) -> Any:
    """Return the plane in which the light is most concentrated, as a 2-D PSF.

    Parameters
    ----------
    psf : array, shape (..., kz, ky, kx)
        PSF or one per leading index.

    Returns
    -------
    array, shape (..., ky, kx), sum 1.  Differentiable in: psf.

    Raises
    ------
    ValueError  if psf has fewer than three axes.
    """
    tensor = as_tensor("in_focus_slice", psf, 3)
    sharpest = tensor.detach().double().square().sum((-2, -1)).argmax(-1)
    index = sharpest[..., None, None, None].expand(*tensor.shape[:-3], 1, *tensor.shape[-2:])
    plane = tensor.gather(-3, index).squeeze(-3)
    return like(plane / plane.sum((-2, -1), keepdim=True), psf)


def as_tensor(function: str, psf: Any, spatial: int, name: str = "psf") -> Tensor:
    """Return the array as a real floating tensor of at least `spatial` axes."""
    tensor = listed(function, name, psf)
    if tensor.ndim < spatial or tensor.numel() == 0:
        raise ValueError(
            f"{function}: {name} must have at least {spatial} axes, none of them empty, "
            f"got shape {tuple(tensor.shape)}"
        )
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def like(result: Tensor, original: Any) -> Any:
    """Return the result as the kind of array that came in."""
    if isinstance(original, Tensor):
        return result
    library = sys.modules[type(original).__module__.split(".")[0]]
    if library.__name__ == "cupy":
        return library.from_dlpack(result.contiguous())
    return result.cpu().numpy()


def _rescale(psf: Tensor, total: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    now = psf.sum() if axes is None else psf.sum(axes, keepdim=True)
    factor: Tensor = torch.where(now != 0, total / now, torch.ones_like(now))
    return psf * factor


def brightest(light: Tensor) -> tuple[int, ...]:
    """Return the brightest voxel, the first one of several."""
    # torch.unravel_index imports a computer algebra system: 40 MB, half a second.
    flat = int(light.argmax())
    place: tuple[int, ...] = ()
    for extent in reversed(light.shape):
        flat, index = divmod(flat, extent)
        place = (index, *place)
    return place


def peak(light: Tensor) -> tuple[float, ...]:
    """Return the brightest point, between voxels by a parabola through the logarithms."""
    top = brightest(light)
    place = []
    for axis, index in enumerate(top):
        line = light[tuple(slice(None) if a == axis else i for a, i in enumerate(top))]
        offset = 0.0
        if 0 < index < len(line) - 1:
            low, mid, high = line[index - 1 : index + 2].clamp(min=1e-3 * line[index]).log()
            bend = float(low - 2 * mid + high)
            offset = float(low - high) / (2 * bend) if bend < 0 else 0.0
        place.append(index + offset)
    return tuple(place)


def centroid(light: Tensor) -> tuple[float, ...]:
    place = []
    for axis, n in enumerate(light.shape):
        line = light.sum([a for a in range(light.ndim) if a != axis])
        steps = torch.arange(n, dtype=light.dtype, device=light.device)
        place.append(float((line * steps).sum() / line.sum()))
    return tuple(place)


def shift_part(psf: Tensor, axis: int, distance: float) -> Tensor:
    """Shift by less than a voxel along one axis."""
    n = psf.shape[axis]
    if abs(distance) < _NEGLIGIBLE or n == 1:
        return psf
    mirrored = torch.cat([psf, psf.flip(axis)], axis).movedim(axis, -1)
    spectrum = torch.fft.rfft(mirrored.double())
    frequency = torch.fft.rfftfreq(2 * n, dtype=torch.float64, device=psf.device)
    turn = torch.exp(-2j * math.pi * frequency * distance)
    moved: Tensor = torch.fft.irfft(spectrum * turn, n=2 * n)[..., :n]
    return torch.movedim(moved, -1, axis).to(psf)


def _shift_whole(psf: Tensor, axis: int, steps: int) -> Tensor:
    """Shift by whole voxels along one axis, zeros coming in."""
    n = psf.shape[axis]
    if steps == 0:
        return psf
    moved = torch.zeros_like(psf)
    kept = max(0, n - abs(steps))
    moved.narrow(axis, max(0, steps), kept).copy_(psf.narrow(axis, max(0, -steps), kept))
    return moved


def spline_matrix(n: int, step: float) -> Tensor:
    """Return the matrix (new, n) that samples a cubic spline at multiples of `step` from n // 2."""
    before = math.floor((n // 2) / step + 1e-9)
    after = math.floor((n - 1 - n // 2) / step + 1e-9)
    # The new centre is at new // 2 only if it has as many samples before it as after, or one more.
    after = max(after, before - 1)
    place = n // 2 + step * torch.arange(-before, after + 1, dtype=torch.float64)
    # Coefficients of the spline that passes through the samples, mirrored at both ends.
    through = _basis(torch.arange(n, dtype=torch.float64), n)
    matrix: Tensor = torch.linalg.solve(through, _basis(place.clamp(0, n - 1), n), left=False)
    return matrix


def _basis(place: Tensor, n: int) -> Tensor:
    """Return the cubic B-splines of n mirrored knots at the given places: (..., n)."""
    first = place.floor()
    t = place - first
    weights = torch.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], -1
    )
    period = max(2 * (n - 1), 1)
    index = (first[..., None].long() + torch.arange(-1, 3)) % period
    index = torch.where(index >= n, period - index, index)
    basis = torch.zeros(*place.shape, n, dtype=torch.float64)
    return basis.scatter_add(-1, index, weights / 6)
