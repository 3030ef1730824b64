# SPDX-License-Identifier: BSD-3-Clause
"""How fine a detail a restoration shows: Fourier shell correlation and widths of beads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from otfuse.functional._arrays import listed

from .similarity import _pair


def fourier_shell_correlation(
    truth: Any, result: Any, voxel: Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """Return how well two volumes agree in each shell of spatial frequencies.

    `Re sum(A conj(B)) / sqrt(sum |A|^2 sum |B|^2)` over the shell. The mean is taken off, and the
    volumes fade out towards their faces (a Hann window over an eighth of each side), so that
    opposite faces that differ leave no trace.

    Parameters
    ----------
    truth, result : array, same shape, 2 or 3 axes
        What was there and what was restored.
    voxel : sequence of float, optional
        Edges of a voxel; shells are round in cycles per unit of length. By default 1 each.

    Returns
    -------
    frequencies : Tensor, shape (shells,)
        Middle of each shell, cycles per unit of `voxel`, up to the highest Nyquist
        frequency of the axes (beyond that of another axis a shell holds what there is of it); a
        shell is one over the longest side thick, so none is empty.
    correlations : Tensor, shape (shells,)
        Between -1 and 1; 0 where one of the two holds nothing.

    Raises
    ------
    ValueError  if the shapes differ or voxel does not fit them.

    References
    ----------
    Harauz & van Heel 1986, Optik 73, 146.
    """
    x, y = _pair("fourier_shell_correlation", truth, result, False)
    edges = _edges("fourier_shell_correlation", x, voxel)
    window = torch.ones((), dtype=torch.float64, device=x.device)
    squares = torch.zeros((), dtype=torch.float64, device=x.device)
    for n, d in zip(x.shape, edges, strict=True):
        window = window[..., None] * _fade(n, x.device)
        squares = squares[..., None] + torch.fft.fftfreq(n, d, dtype=x.dtype, device=x.device) ** 2
    half = squares[..., : x.shape[-1] // 2 + 1]
    a, b = (torch.fft.rfftn((v - v.mean()) * window) for v in (x, y))
    # Columns between DC and Nyquist stand for their mirror image too.
    twice = torch.full((half.shape[-1],), 2.0, dtype=x.dtype, device=x.device)
    twice[0] = 1
    if x.shape[-1] % 2 == 0:
        twice[-1] = 1
    sides = [(n, d) for n, d in zip(x.shape, edges, strict=True) if n > 1] or [(1, edges[0])]
    nyquist = max(0.5 / d for _, d in sides)
    shells = max(int(nyquist * max(n * d for n, d in sides) + 1e-9), 1)
    index = (half.sqrt() * (shells / nyquist)).long().clamp(max=shells).flatten()
    sums = [
        torch.zeros(shells + 1, dtype=x.dtype, device=x.device).index_add_(
            0, index, (values * twice).flatten()
        )[:-1]
        for values in ((a * b.conj()).real, a.abs() ** 2, b.abs() ** 2)
    ]
    power = (sums[1] * sums[2]).sqrt()
    middles = (torch.arange(shells, dtype=x.dtype, device=x.device) + 0.5) * (nyquist / shells)
    return middles, torch.where(power > 0, sums[0] / power, 0)


def shell_resolution(
    truth: Any, result: Any, voxel: Sequence[float] | None = None, threshold: float = 0.5
) -> float:
    """Return the length down to which a restoration agrees with the truth.

    One over the frequency at which the Fourier shell correlation first falls below the threshold;
    0.5 against the truth stands for 0.143 between two equally noisy halves (Rosenthal &
    Henderson 2003).

    Parameters
    ----------
    truth, result : array, same shape
        What was there and what was restored.
    voxel : sequence of float, optional
        Edges of a voxel; the result has their unit.
    threshold : float
        Between 0 and 1.

    Returns
    -------
    float  twice the finest voxel edge if it never falls below; infinite if it starts below.

    Raises
    ------
    ValueError  if the shapes differ, voxel does not fit or threshold is out of range.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"shell_resolution: threshold must lie in 0 to 1, got {threshold:g}")
    frequencies, values = fourier_shell_correlation(truth, result, voxel)
    below = torch.nonzero(values < threshold)
    step = float(frequencies[0]) * 2
    if len(below) == 0:
        return 1 / (step * len(frequencies))
    i = int(below[0])
    if i == 0:
        return math.inf
    high, low = float(values[i - 1]), float(values[i])
    return 1 / (float(frequencies[i - 1]) + step * (high - threshold) / (high - low))


def fwhm(
    image: Any, centres: Sequence[Sequence[int]], voxel: Sequence[float] | None = None
) -> Tensor:
    """Return the full width at half maximum of beads along each axis.

    The line through the brightest of the voxels next to a centre; its base is zero, and it is
    interpolated between voxels.

    Parameters
    ----------
    image : array, shape (nz, ny, nx) or any number of axes
        A restoration; its background is about zero.
    centres : sequence of index tuples
        Where the beads are.
    voxel : sequence of float, optional
        Edges of a voxel; the widths have their unit.

    Returns
    -------
    Tensor, shape (beads, axes), float64; NaN where a line does not fall to half inside the image.

    Raises
    ------
    ValueError  if a centre lies outside the image or voxel does not fit it.
    """
    volume = listed("fwhm", "image", image).detach().double()
    edges = _edges("fwhm", volume, voxel)
    widths = []
    for centre in centres:
        if len(centre) != volume.ndim or any(
            not 0 <= c < n for c, n in zip(centre, volume.shape, strict=False)
        ):
            raise ValueError(
                f"fwhm: centres must lie inside the image {tuple(volume.shape)}, "
                f"got {tuple(centre)}"
            )
        box = tuple(slice(max(0, c - 1), c + 2) for c in centre)
        light = volume[box]
        # torch.unravel_index imports a computer algebra system: 40 MB, half a second.
        place = torch.arange(light.numel(), device=light.device).reshape(light.shape)
        near = (place == light.argmax()).nonzero()[0].tolist()
        top = [part.start + i for part, i in zip(box, near, strict=True)]
        lines = []
        for axis, (at, edge) in enumerate(zip(top, edges, strict=True)):
            index: list[Any] = [*top]
            index[axis] = slice(None)
            lines.append(edge * _width(volume[tuple(index)].tolist(), at))
        widths.append(lines)
    return torch.tensor(widths, dtype=torch.float64).reshape(len(widths), volume.ndim)


def _width(line: list[float], top: int) -> float:
    """Return the width at half of the value at `top`, in voxels."""
    half, total = line[top] / 2, 0.0
    for step in (-1, 1):
        at = top
        while 0 <= at + step < len(line) and line[at] > half:
            at += step
        if line[at] > half or at == top:
            return math.nan
        before = line[at - step]
        total += abs(at - top) - (half - line[at]) / (before - line[at])
    return total


def _fade(n: int, device: torch.device) -> Tensor:
    """Return a line of ones that falls to zero at its ends."""
    rim = max(n // 8, 1)
    place = torch.arange(n, dtype=torch.float64, device=device) + 0.5
    ends = torch.minimum(place, n - place).clamp(max=rim)
    return torch.sin(0.5 * math.pi * ends / rim) ** 2 if n > 1 else place * 0 + 1


def _edges(function: str, volume: Tensor, voxel: Sequence[float] | None) -> tuple[float, ...]:
    edges = (1.0,) * volume.ndim if voxel is None else tuple(float(d) for d in voxel)
    if len(edges) != volume.ndim or not all(math.isfinite(d) and d > 0 for d in edges):
        raise ValueError(f"{function}: voxel must have {volume.ndim} positive edges, got {voxel}")
    return edges
