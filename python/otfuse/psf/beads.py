# SPDX-License-Identifier: BSD-3-Clause
"""A measured PSF: the mean of the beads in a stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import _bead_search as search
from .arrays import as_tensor, centroid, like, peak, shift_part

# Extents of the part of each bead, about its middle, that they are compared by.
_CORE = 21
# Rounds of averaging and of moving each bead onto the average.
_ROUNDS = 4
# A bead whose correlation with the others is this much below theirs is unlike them; or, where
# they vary more, this many times their median deviation.
_UNLIKE, _DEVIATIONS = 0.05, 5.0
# Voxels that a bead is moved by at most in a round: it starts from its brightest point.
_MOST_PER_ROUND = 1.0

Place = tuple[float, ...]


@dataclass(frozen=True)
class BeadPsf:
    """A PSF measured from beads, and what became of each bead.

    Attributes
    ----------
    psf : array
        Sum 1, centre at k // 2, of the stack's kind.
    used : tuple of (z, y, x)
        Where the beads that it is the mean of are, in voxels.
    rejected : tuple of ((z, y, x), str)
        Where the others are, and why they were left out: "edge" (no room for the PSF around
        it), "clump" (another bead within the PSF), "saturated", or "unlike" the others.
    background : float
        Mean background that was subtracted.
    """

    psf: Any
    used: tuple[Place, ...]
    rejected: tuple[tuple[Place, str], ...]
    background: float

    def __str__(self) -> str:
        reasons = Counter(reason for _, reason in self.rejected)
        told = ", ".join(f"{reasons[why]} {text}" for why, text in _TOLD.items() if reasons[why])
        found = len(self.used) + len(self.rejected)
        return f"{len(self.used)} of {found} beads used" + (f" ({told})" if told else "")


_TOLD = {
    "edge": "at the edge",
    "clump": "in clumps",
    "saturated": "saturated",
    "unlike": "unlike the others",
}


def from_beads(stack: Any, *, shape: Sequence[int] | None = None) -> BeadPsf:
    """Return the PSF that a stack of beads shows.

    Beads are local maxima that stand out from the noise. Those too close to the edge or to each
    other, saturated or unlike the rest (two beads in one, dirt) are left out. The others, less the
    median at the sides of their window, are moved onto each other by parts of a voxel (maximum of
    the correlation with their mean, in rounds) and added up, so that bright beads count more. What
    is below zero then is noise and set to zero.

    Parameters
    ----------
    stack : array, shape (nz, ny, nx) or (ny, nx)
        Image of beads that are smaller than the resolution.
    shape : (kz, ky, kx) or (ky, kx), optional
        Extents of the PSF. Not given: 41 laterally, along z what most of the beads have room for.

    Returns
    -------
    BeadPsf
        Its `psf` has the stack's voxels; `str()` of it tells how many beads were used.

    Raises
    ------
    ValueError  if no bead is found or none is left, or the shape does not fit the stack.
    """
    tensor = as_tensor("from_beads", stack, 2)
    if tensor.ndim > 3 or not bool(torch.isfinite(tensor).all()):
        raise ValueError(
            "from_beads: stack must be finite, with axes (z, y, x) or (y, x), got shape "
            f"{tuple(tensor.shape)}"
        )
    light = tensor.detach().cpu()
    found = search.beads(search.candidates(light))
    if not found:
        raise ValueError(
            "from_beads: stack must show beads, got nothing that stands out from its noise; "
            "crop it to a part with beads"
        )
    extents = _extents(shape, found, light)
    wrong = search.verdicts(found, light, extents)
    rejected = [(place, why) for place, why in wrong.items() if why]
    places = [place for place, why in wrong.items() if not why]
    _some_left(places, rejected, extents)
    patches, grounds = _patches(light.double(), places, extents)
    shifts, alike = _aligned(patches)
    rejected += [(place, "unlike") for place, good in zip(places, alike, strict=True) if not good]
    psf = _moved(patches[alike], shifts[alike]).mean(0).clamp(min=0)
    used = [
        tuple(p - s for p, s in zip(place, shift, strict=True))
        for place, shift, good in zip(places, shifts.tolist(), alike, strict=True)
        if good
    ]
    made = like((psf / psf.sum()).to(tensor), stack)
    return BeadPsf(made, tuple(used), tuple(rejected), float(grounds[alike].mean()))


def _extents(
    shape: Sequence[int] | None, found: Sequence[tuple[tuple[int, ...], float]], light: Tensor
) -> tuple[int, ...]:
    if shape is None:
        return search.usual_extents(found, light.shape)
    extents = tuple(int(k) for k in shape)
    if len(extents) != light.ndim or not all(
        0 < k <= n for k, n in zip(extents, light.shape, strict=True)
    ):
        raise ValueError(
            f"from_beads: shape must be {light.ndim} positive extents within the stack's "
            f"{tuple(light.shape)}, got {tuple(shape)}"
        )
    return extents


def _some_left(
    places: Sequence[Any], rejected: Sequence[tuple[Any, str]], extents: tuple[int, ...]
) -> None:
    if places:
        return
    reasons = Counter(why for _, why in rejected)
    told = ", ".join(f"{count} {_TOLD[why]}" for why, count in reasons.items())
    raise ValueError(
        f"from_beads: stack must show a bead with room for a PSF of {extents}, got {told}; "
        "give a smaller shape"
    )


def _patches(
    light: Tensor, places: Sequence[tuple[int, ...]], extents: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Return the windows around the beads, less the background at their sides, and that."""
    patches = torch.stack([search.window(light, place, extents) for place in places])
    sides = torch.ones(extents[-2:], dtype=torch.bool, device=light.device)
    sides[1:-1, 1:-1] = False
    grounds = patches[..., sides].flatten(1).median(1).values
    return patches - grounds.reshape(-1, *[1] * light.ndim), grounds


def _aligned(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each bead has to move, and which are like the others."""
    cores = patches
    for axis, k in enumerate(patches.shape[1:], 1):
        cores = cores.narrow(axis, k // 2 - min(k, _CORE) // 2, min(k, _CORE))
    shifts = torch.stack([_to_centre(_bright_middle(core), core.shape) for core in cores])
    alike = torch.ones(len(cores), dtype=torch.bool, device=cores.device)
    for _ in range(_ROUNDS):
        moved = _moved(cores, shifts)
        alike = _like_the_others(moved)
        mean = moved[alike].mean(0)
        # All of them together too: the mean has its bright part in the middle.
        shifts = shifts + _lags(mean, moved) + _to_centre(_bright_middle(mean), mean.shape)
    return shifts, alike


def _bright_middle(patch: Tensor) -> tuple[float, ...]:
    """Return the centre of mass of what rises above half the height: noise moves a peak more."""
    calm = search.smooth(patch)
    return centroid((calm - calm.max() / 2).clamp(min=0))


def _to_centre(place: tuple[float, ...], extents: Sequence[int]) -> Tensor:
    """Return the displacement that takes a place to k // 2."""
    return torch.tensor(
        [n // 2 - p for n, p in zip(extents, place, strict=True)], dtype=torch.float64
    )


def _lags(mean: Tensor, moved: Tensor) -> Tensor:
    """Return the displacements, of a voxel at most, that correlate each best with the mean."""
    size = [2 * n for n in mean.shape]
    axes = list(range(1, moved.ndim))
    products = torch.fft.rfftn(mean, size) * torch.fft.rfftn(moved, size, axes).conj()
    correlations = torch.fft.fftshift(torch.fft.irfftn(products, size, axes), axes)
    lags = torch.stack([-_to_centre(peak(c.clamp(min=0)), c.shape) for c in correlations])
    return lags.clamp(-_MOST_PER_ROUND, _MOST_PER_ROUND)


def _moved(patches: Tensor, shifts: Tensor) -> Tensor:
    moved = []
    for patch, shift in zip(patches, shifts.tolist(), strict=True):
        for axis, distance in enumerate(shift):
            patch = shift_part(patch, axis, distance)
        moved.append(patch)
    return torch.stack(moved)


def _like_the_others(moved: Tensor) -> Tensor:
    """Return which beads correlate with the median bead as well as the rest."""
    if len(moved) < 3:
        return torch.ones(len(moved), dtype=torch.bool, device=moved.device)
    calm = torch.stack([search.smooth(patch).flatten() for patch in moved])
    unit = calm / calm.norm(dim=1, keepdim=True)
    usual = unit.median(0).values
    likeness = unit @ (usual / usual.norm())
    middle = likeness.median()
    spread = (likeness - middle).abs().median()
    return likeness >= middle - torch.clamp(_DEVIATIONS * spread, min=_UNLIKE)
