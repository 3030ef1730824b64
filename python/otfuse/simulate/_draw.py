# SPDX-License-Identifier: BSD-3-Clause
"""Drawing in a volume: points spread over voxels, soft-edged bodies, small Gaussians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = Sequence[int]

UNIT_VOXEL = (1.0, 1.0, 1.0)
FWHM = 2.3548200450309493  # of a Gaussian, in standard deviations
_CANDIDATES = 6  # places tried for each body


def generator(seed: int, device: torch.device | str | None) -> torch.Generator:
    """Return a source of random numbers that gives the same specimen for the same seed."""
    source = torch.Generator(device=device or "cpu")
    source.manual_seed(int(seed) % 2**64)  # which is what torch takes
    return source


def check_field(
    function: str, shape: Shape, voxel: Sequence[float]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Return the three extents and the voxel edges of a volume."""
    extents = tuple(int(n) for n in shape)
    if len(extents) != 3 or min(extents) < 1:
        raise ValueError(
            f"{function}: shape must be three positive integers (z, y, x), got {tuple(shape)}"
        )
    edges = tuple(float(d) for d in voxel)
    if len(edges) != 3 or not all(math.isfinite(d) and d > 0 for d in edges):
        raise ValueError(
            f"{function}: voxel must be three positive lengths (z, y, x), got {tuple(voxel)}"
        )
    return (extents[0], extents[1], extents[2]), (edges[0], edges[1], edges[2])


def uniform(source: torch.Generator, low: float, high: float, *size: int) -> Tensor:
    """Return uniform random numbers."""
    numbers = torch.rand(size, generator=source, device=source.device)
    return low + (high - low) * numbers


def normal(source: torch.Generator, *size: int) -> Tensor:
    """Return normal random numbers."""
    return torch.randn(size, generator=source, device=source.device)


def splat(volume: Tensor, points: Tensor, weights: Tensor) -> None:
    """Add points (n, 3) in voxels, each shared by its eight neighbours; those outside are lost."""
    base = points.floor()
    part = points - base
    extents = torch.tensor(volume.shape, device=volume.device)
    strides = torch.tensor(volume.stride(), device=volume.device)
    for corner in range(8):
        step = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1], device=volume.device)
        place = base.long() + step
        share = torch.where(step.bool(), part, 1 - part).prod(1) * weights
        inside = ((place >= 0) & (place < extents)).all(1)
        volume.view(-1).index_add_(0, (place[inside] * strides).sum(1), share[inside])


def blur(volume: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Return the volume blurred by a narrow Gaussian, dark beyond its edges; sigmas in voxels."""
    for axis, sigma in enumerate(sigmas):
        half = math.ceil(3 * sigma)
        taps = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-half, half + 1)] if half else [1]
        source, volume = volume, torch.zeros_like(volume)
        for i, tap in enumerate(taps, -half):
            kept = volume.shape[axis] - abs(i)
            if kept > 0:
                volume.narrow(axis, max(0, i), kept).add_(
                    source.narrow(axis, max(0, -i), kept), alpha=tap / sum(taps)
                )
    return volume


@dataclass(frozen=True)
class Field:
    """A volume to draw in: its extents, and its lengths in the unit of the voxel."""

    extents: tuple[int, int, int]
    edges: tuple[float, float, float]

    @staticmethod
    def checked(function: str, shape: Shape, voxel: Sequence[float]) -> Field:
        """Return the field, or refuse what is none."""
        return Field(*check_field(function, shape, voxel))

    @property
    def short(self) -> float:
        """Shortest edge of a voxel."""
        return min(self.edges)

    @property
    def size(self) -> tuple[float, ...]:
        """Lengths of the three sides."""
        return tuple(n * d for n, d in zip(self.extents, self.edges, strict=True))

    def fitting(self, radius: Sequence[float]) -> tuple[float, float]:
        """Return the radii, no longer than what fits the volume."""
        most = min(self.size) / 3
        return min(float(radius[0]), most), min(float(radius[1]), most)

    def count(self, share: float, radius: float) -> int:
        """Return how many spheres fill that share of the volume."""
        return max(1, round(share * math.prod(self.size) / (4.19 * radius**3)))


def check_positive(function: str, **lengths: float) -> None:
    """Refuse lengths that are none."""
    for name, value in lengths.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{function}: {name} must be positive and finite, got {value:g}")


def rotation(source: torch.Generator) -> Tensor:
    """Return a random rotation, all equally likely; its columns are orthonormal: (3, 3)."""
    q = normal(source, 4)
    w, x, y, z = (q / q.norm()).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def reach(radii: Tensor, turn: Tensor | None) -> Tensor:
    """Return how far an ellipsoid reaches from its centre along each axis of the volume."""
    return radii if turn is None else (turn * radii).norm(dim=1)


def place(source: torch.Generator, field: Field, reach: Tensor, earlier: list[Tensor]) -> Tensor:
    """Return a centre that keeps a body inside the volume, and add it to `earlier`.

    Of a few random ones, that which is farthest from all earlier bodies: they overlap seldom.
    """
    edges = torch.tensor(field.edges)
    last = (torch.tensor(field.extents) - 1) * edges
    room = (last - 2 * (reach + edges)).clamp(min=0)
    places = uniform(source, 0.0, 1.0, _CANDIDATES, 3) * room + (last - room) / 2
    gaps = torch.cdist(places, torch.stack(earlier)).amin(1) if earlier else places[:, 0]
    earlier.append(places[int(gaps.argmax())])
    return earlier[-1]


def smooth_noise(source: torch.Generator, field: Field, length: float) -> Tensor:
    """Return a Gaussian random field of mean 0 and variance 1, correlated over `length`.

    A Matern field of nu = 1.
    """
    squares = torch.zeros((), device=source.device)
    for n, d in zip(field.extents, field.edges, strict=True):
        wave = torch.fft.fftfreq(n, d, device=source.device) * (2 * math.pi * length)
        squares = squares[..., None] + wave**2
    squares = squares[..., : field.extents[-1] // 2 + 1]
    spectrum = torch.fft.rfftn(normal(source, *field.extents)) * (1 + squares) ** -1.25
    noise = torch.fft.irfftn(spectrum, s=field.extents)
    noise = noise - noise.mean()  # many deviations in a field that is small beside `length`
    return noise / noise.std().clamp(min=1e-12) if noise.numel() > 1 else noise


def add_ellipsoid(
    volume: Tensor,
    voxel: Sequence[float],
    centre: Tensor,
    radii: Tensor,
    brightness: float,
    *,
    wall: float | None = None,
    turn: Tensor | None = None,
) -> None:
    """Add an ellipsoid, solid or with a wall of the given thickness, its edges soft by a voxel.

    Centre, radii and wall are in the unit of `voxel`; the columns of `turn` are the directions of
    the half axes, those of the volume without it.
    """
    found = _box(volume, voxel, centre.tolist(), (reach(radii, turn) + (wall or 0.0) / 2).tolist())
    if found is None:
        return
    box, (z, y, x) = found
    if turn is None:
        axes = [z[:, None, None], y[:, None], x]
    else:
        columns = turn.T.tolist()
        axes = [a * z[:, None, None] + b * y[:, None] + c * x for a, b, c in columns]
    # Distance to the surface |p / r| = 1 to first order: (|p / r| - 1) |p / r| / |p / r^2|.
    lengths = radii.tolist()
    unit = [(axis / r) ** 2 for axis, r in zip(axes, lengths, strict=True)]
    level = (unit[0] + unit[1] + unit[2]).sqrt_()
    slope = (
        unit[0] / lengths[0] ** 2 + unit[1] / lengths[1] ** 2 + unit[2] / lengths[2] ** 2
    ).sqrt_()
    distance = (level - 1) * torch.where(slope > 0, level / slope, min(lengths))
    edge = -distance if wall is None else wall / 2 - distance.abs()
    volume[box] += brightness * _soft(edge, voxel)


def add_rod(
    volume: Tensor,
    voxel: Sequence[float],
    centre: Sequence[float],
    half: Sequence[float],
    radius: float,
    brightness: float,
) -> None:
    """Add a cylinder with round ends: all that is nearer than `radius` to the line of its axis.

    The axis runs from `centre - half` to `centre + half`; all lengths in the unit of `voxel`.
    """
    found = _box(volume, voxel, centre, [abs(h) + radius for h in half])
    if found is None:
        return
    box, (z, y, x) = found
    z, y = z[:, None, None], y[:, None]
    square = max(sum(h * h for h in half), 1e-12)
    along = ((z * half[0] + y * half[1] + x * half[2]) / square).clamp(-1, 1)
    gaps = (along * h - line for h, line in zip(half, (z, y, x), strict=True))
    distance = torch.stack([gap.square() for gap in gaps]).sum(0).sqrt()
    volume[box] += brightness * _soft(radius - distance, voxel)


def _box(
    volume: Tensor, voxel: Sequence[float], centre: Sequence[float], reach: Sequence[float]
) -> tuple[tuple[slice, ...], list[Tensor]] | None:
    """Return the part of the volume that a body touches, and its coordinates about the centre."""
    lines, box = [], []
    for n, d, c, r in zip(volume.shape, voxel, centre, reach, strict=True):
        part = slice(max(0, math.floor((c - r - d) / d)), min(n, math.ceil((c + r + d) / d) + 1))
        if part.start >= part.stop:
            return None
        box.append(part)
        lines.append(torch.arange(part.start, part.stop, device=volume.device) * d - c)
    return tuple(box), lines


def _soft(edge: Tensor, voxel: Sequence[float]) -> Tensor:
    """Return 1 inside and 0 outside, with a ramp of about a voxel where `edge` is near 0."""
    return (edge * (3 / sum(voxel)) + 0.5).clamp_(0, 1)
