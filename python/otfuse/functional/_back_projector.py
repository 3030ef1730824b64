# SPDX-License-Identifier: BSD-3-Clause
"""Back projectors other than the blur's own adjoint."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype
from otfuse.functional.otf import spatial_ndim

KINDS = ("matched", "gaussian", "butterworth", "wiener", "wiener_butterworth")
_NAME = "back_projector"


def back_projector(
    psf: Any,
    kind: str = "wiener_butterworth",
    *,
    alpha: float = 0.01,
    beta: float = 1.0,
    n: float = 10.0,
    resolution: Any = None,
    ndim: int | None = None,
) -> Any:
    """What takes the PSF's place in the adjoint, so that few iterations do the work of many.

    With F the PSF's spectrum over its maximum, k frequencies in cycles a voxel, and
    `kc = 1 / resolution` on each axis:

    - "wiener": `F / (|F|^2 + alpha)`;
    - "butterworth": `1 / sqrt(1 + eps2 w^n)` with `w = sum (k / kc)^2`, `eps2 = 1 / beta^2 - 1`;
    - "wiener_butterworth": their product, with `eps2 = |Wiener part at kc along x| / beta^2 - 1`;
    - "gaussian": a Gaussian of full widths `resolution`;
    - "matched": the PSF.

    Like the PSF it is correlated with the ratio (convolving with its mirror image is the same).

    Parameters
    ----------
    psf : array, shape (..., kz, ky, kx)
        Not negative, centre at k // 2; leading axes are PSFs of their own.
    kind : {"wiener_butterworth", "wiener", "butterworth", "gaussian", "matched"}
    alpha : float
        Damps the Wiener part where the PSF passes little. Guo et al. take 0.001, which is best
        with photons by the thousand; with a hundred of them and fewer it lets noise take over.
    beta : float
        How much of the Butterworth filter is left at kc; 1 is the mean over the axes of |F| there.
    n : float
        Order of the Butterworth filter.
    resolution : float or sequence of float, optional
        In voxels, one for all axes or one each; by default the PSF's full widths at half maximum
        through its brightest voxel.
    ndim : int, optional
        Number of spatial axes, by default all of `psf`.

    Returns
    -------
    array, shape of psf
        Of the same kind. Differentiable in: psf (the resolution counts as a constant).

    Raises
    ------
    ValueError
        If the kind is unknown, a parameter is not positive, the psf is negative, zero or not
        finite, or `eps2` is negative.
    TypeError
        If the psf is complex or not an array of numbers.

    References
    ----------
    Guo et al. 2020, Nat. Biotechnol. 38, 1337.
    """
    _checks.one_of(_NAME, "kind", kind, KINDS)
    h = to_tensor(_NAME, "psf", psf)
    ndim = spatial_ndim(_NAME, h, ndim)
    h = h.to(working_dtype(h))
    if _checks.values_visible(h):
        _checks.light_psf(_NAME, h, ndim)
    for name, value in (("alpha", alpha), ("beta", beta), ("n", n)):
        _positive(name, value)
    made = project_back(h, ndim, kind, alpha, beta, n, resolution)
    return back_to_kind(psf)(made)


def project_back(
    psf: Tensor,
    ndim: int,
    kind: str,
    alpha: float = 0.01,
    beta: float = 1.0,
    n: float = 10.0,
    resolution: Any = None,
) -> Tensor:
    """`back_projector` of a tensor whose values were looked at."""
    axes = tuple(range(-ndim, 0))
    unit = psf / psf.sum(axes, keepdim=True)
    if kind == "matched":
        return unit
    widths = _widths(unit, ndim, resolution)
    if kind == "gaussian":
        return _gaussian(unit, widths)
    extents = unit.shape[-ndim:]
    # Where a PSF has its centre shows in the phases, which a filter of |F| alone keeps.
    spectrum = torch.fft.rfftn(unit, dim=axes)
    square = torch.view_as_real(spectrum).square().sum(-1)
    damped = 1 / (square + alpha)
    if kind == "wiener":
        wiener: Tensor = torch.fft.irfftn(spectrum * damped, s=extents, dim=axes)
        return wiener
    at_cutoff = _at_cutoff(unit, widths)
    level = at_cutoff.mean(0) if beta == 1 else torch.full_like(at_cutoff[0], beta)
    passed = torch.ones_like(level)
    if kind == "wiener_butterworth":
        passed = at_cutoff[-1] / (at_cutoff[-1].square() + alpha)
    eps2 = passed / level.square() - 1
    _check_order(eps2, passed, beta)
    mask = (1 + _spread(eps2, ndim) * _radius(unit, widths) ** n).rsqrt()
    if kind == "butterworth":
        centred = torch.fft.irfftn(mask, s=extents, dim=axes)
        butterworth: Tensor = torch.fft.fftshift(centred, dim=axes)
        return butterworth
    both: Tensor = torch.fft.irfftn(spectrum * (damped * mask), s=extents, dim=axes)
    return both


def _positive(name: str, value: Any) -> float:
    number = _checks.finite_number(_NAME, name, value)
    if number <= 0:
        raise ValueError(f"{_NAME}: {name} must be positive, got {number:g}")
    return number


def _check_order(eps2: Tensor, passed: Tensor, beta: float) -> None:
    """A Butterworth filter falls: its eps2 is not negative."""
    if _checks.values_visible(eps2) and bool((eps2 < 0).any()):
        most = float(passed.min().sqrt())
        raise ValueError(
            f"{_NAME}: beta must be at most {most:.4g} for this psf, alpha and resolution, got "
            f"{'1 (automatic)' if beta == 1 else f'{beta:g}'}; give a smaller one"
        )


def _widths(psf: Tensor, ndim: int, resolution: Any) -> list[Tensor]:
    """The resolution along each axis, of each PSF: given, or its full width at half maximum."""
    if resolution is None:
        return _full_widths(psf, ndim)
    try:
        values = list(resolution)
    except TypeError:
        values = [resolution] * ndim
    if len(values) != ndim:
        raise ValueError(f"{_NAME}: resolution must have 1 or {ndim} values, got {len(values)}")
    return [psf.new_full(psf.shape[:-ndim], _positive("resolution", v)) for v in values]


def _full_widths(psf: Tensor, ndim: int) -> list[Tensor]:
    """Full widths at half maximum along the axes through the brightest voxel, in voxels.

    Made of tensors only, so that it can be traced; the whole extent where it falls nowhere.
    """
    lead, shape = psf.shape[:-ndim], psf.shape[-ndim:]
    light = psf.detach().reshape(-1, *shape)
    rest = light.flatten(1).argmax(1)
    item = torch.arange(light.shape[0], device=psf.device)
    top: list[Tensor] = []
    for extent in reversed(shape):
        top.insert(0, rest % extent)
        rest = torch.div(rest, extent, rounding_mode="floor")
    widths = []
    for axis, extent in enumerate(shape):
        index = [t[:, None] for t in top]
        index[axis] = torch.arange(extent, device=psf.device)[None]
        line = light[(item[:, None], *index)]
        # Both ways from the peak, as lines of their own.
        lines = torch.cat((line, line.flip(1)))
        peaks = torch.cat((top[axis], extent - 1 - top[axis]))
        reach = _half_reach(lines / lines.amax(1, keepdim=True), peaks)
        widths.append(reach.reshape(2, -1).sum(0).reshape(lead))
    return widths


def _half_reach(line: Tensor, peak: Tensor) -> Tensor:
    """How far beyond the peak a line falls to a half, between its samples."""
    extent = line.shape[1]
    steps = torch.arange(extent, device=line.device)[None]
    low = (line < 0.5) & (steps > peak[:, None])
    first = torch.where(low, steps, extent).amin(1)
    inner = (first - 1).clamp(max=extent - 1)[:, None]
    outer = first.clamp(max=extent - 1)[:, None]
    above, below = line.gather(1, inner)[:, 0], line.gather(1, outer)[:, 0]
    fall = torch.where(above > below, above - below, 1)
    part = torch.where(first < extent, (above - 0.5) / fall, 0.5)
    return first - 1 + part - peak


def _spread(values: Tensor, ndim: int) -> Tensor:
    """One value a PSF, ready to broadcast against its voxels."""
    return values.reshape(*values.shape, *[1] * ndim)


def _at_cutoff(psf: Tensor, widths: list[Tensor]) -> Tensor:
    """|F| at kc along each axis, exactly there rather than at the nearest frequency."""
    ndim, found = len(widths), []
    for axis, width in enumerate(widths):
        others = [a - ndim for a in range(ndim) if a != axis]
        line = psf.sum(others) if others else psf
        extent = line.shape[-1]
        place = torch.arange(extent, dtype=psf.dtype, device=psf.device) - extent // 2
        angle = 2 * math.pi * place / width[..., None]
        found.append(torch.hypot((line * angle.cos()).sum(-1), (line * angle.sin()).sum(-1)))
    return torch.stack(found)


def _radius(psf: Tensor, widths: list[Tensor]) -> Tensor:
    """w = sum over the axes of (k / kc)^2 on the half spectrum."""
    ndim = len(widths)
    total = psf.new_zeros(())
    for axis, width in enumerate(widths):
        extent = psf.shape[axis - ndim]
        last = axis == ndim - 1
        k = (torch.fft.rfftfreq if last else torch.fft.fftfreq)(
            extent, dtype=psf.dtype, device=psf.device
        )
        along = k.reshape([-1 if a == axis else 1 for a in range(ndim)])
        total = total + (along * _spread(width, ndim)) ** 2
    return total


def _gaussian(psf: Tensor, widths: list[Tensor]) -> Tensor:
    ndim = len(widths)
    exponent = psf.new_zeros(())
    for axis, width in enumerate(widths):
        extent = psf.shape[axis - ndim]
        place = torch.arange(extent, dtype=psf.dtype, device=psf.device) - extent // 2
        along = place.reshape([-1 if a == axis else 1 for a in range(ndim)])
        exponent = exponent - 4 * math.log(2) * (along / _spread(width, ndim)) ** 2
    light = exponent.exp()
    return light / light.sum(tuple(range(-ndim, 0)), keepdim=True)
