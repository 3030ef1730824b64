# SPDX-License-Identifier: BSD-3-Clause
"""Blurs by direct sums in numpy float64, which share no code with the package."""

from __future__ import annotations

import numpy as np


def direct_valid(image: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """Sum psf[m] image[i + k - 1 - m] over m."""
    out = np.zeros([n - k + 1 for n, k in zip(image.shape, psf.shape, strict=True)])
    for m in np.ndindex(psf.shape):
        begin = [k - 1 - j for k, j in zip(psf.shape, m, strict=True)]
        out += psf[m] * image[tuple(slice(b, b + n) for b, n in zip(begin, out.shape, strict=True))]
    return out


def direct_valid_adjoint(image: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """Scatter what `direct_valid` gathers."""
    out = np.zeros([n + k - 1 for n, k in zip(image.shape, psf.shape, strict=True)])
    for m in np.ndindex(psf.shape):
        begin = [k - 1 - j for k, j in zip(psf.shape, m, strict=True)]
        out[tuple(slice(b, b + n) for b, n in zip(begin, image.shape, strict=True))] += (
            psf[m] * image
        )
    return out


def direct_circular(image: np.ndarray, psf: np.ndarray, sign: int = 1) -> np.ndarray:
    """Sum psf[m] image[(i - (m - k // 2)) mod n] over m; sign -1 is the adjoint."""
    out = np.zeros(image.shape)
    for m in np.ndindex(psf.shape):
        shift = tuple(sign * (j - k // 2) for j, k in zip(m, psf.shape, strict=True))
        out += psf[m] * np.roll(image, shift, tuple(range(image.ndim)))
    return out


def widths(psf: np.ndarray) -> list[tuple[int, int]]:
    """The reflected padding before and after each axis."""
    return [(k - 1 - k // 2, k // 2) for k in psf.shape]


def direct(image: np.ndarray, psf: np.ndarray, boundary: str, adjoint: bool) -> np.ndarray:
    """Convolve by direct sums."""
    if boundary == "circular":
        return direct_circular(image, psf, -1 if adjoint else 1)
    if boundary == "extended":
        return direct_valid_adjoint(image, psf) if adjoint else direct_valid(image, psf)
    if not adjoint:
        return direct_valid(np.pad(image, widths(psf), mode="reflect"), psf)
    source = np.pad(np.arange(image.size).reshape(image.shape), widths(psf), mode="reflect")
    folded = np.zeros(image.size)
    np.add.at(folded, source.ravel(), direct_valid_adjoint(image, psf).ravel())
    return folded.reshape(image.shape)


def smooth(n: int) -> int:
    """The next number with no prime factor over 7, by trial."""
    powers = [
        2**a * 3**b * 5**c * 7**d
        for a in range(9)
        for b in range(6)
        for c in range(4)
        for d in range(4)
    ]
    return min(p for p in powers if p >= n)


def reflected_widths(image: np.ndarray, psf: np.ndarray) -> list[tuple[int, int]]:
    """The padding before and after each axis for a periodic blur of a reflected image."""
    sizes = zip(image.shape, psf.shape, strict=True)
    return [(k - 1 - k // 2, smooth(n + k - 1) - n - (k - 1 - k // 2)) for n, k in sizes]
