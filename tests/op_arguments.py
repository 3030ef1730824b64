# SPDX-License-Identifier: BSD-3-Clause
"""Arguments that ops of the fused loops are tried with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Arguments = Callable[[np.random.Generator], list[tuple[object, ...]]]  # of an op, several times


def tensors(
    rng: np.random.Generator, *shapes: tuple[int, ...], grad: bool = True
) -> list[torch.Tensor]:
    """Return positive float64 tensors that require gradients."""
    found = [torch.from_numpy(rng.random(shape) + 0.5) for shape in shapes]
    return [t.requires_grad_(grad) for t in found]


def consensus_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """Periodic, and with edges and a background."""
    shapes = ((2, 6, 7), (2, 6, 7), (2, 6, 7), (1, 3, 4), (2, 6, 7), (2, 8, 10))
    one, two, whole, kernel, small, large = tensors(rng, *shapes, grad=False)
    floor = torch.full((2,), 1e-6, dtype=torch.float64)
    periodic = (1, (6, 7), False, (-1, -2), (0, 0), 0.5, 0.0)
    edges = (1, (9, 11), True, (-1, -2), (-1, -1), 0.5, 0.0)
    end = (2, 0, "none", 0.0, (1.0, 1.0))
    before, after = (one, kernel, None, None), (None, None, floor)
    return [
        (*before, small, *after, None, None, two, 9.0, *periodic, *end, False, False, False),
        (*before, large, *after, whole, whole, two, 0.0, *edges, *end, True, True, False),
    ]


def views_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """Two views of two objects: periodic, and with edges, a background and momentum."""
    shapes = ((4, 6, 7), (4, 6, 7), (2, 3, 4), (2, 6, 7), (2, 8, 10))
    images, more, kernels, small, large = tensors(rng, *shapes, grad=False)
    floor = torch.full((2,), 1e-6, dtype=torch.float64)
    before, after, unit = (images, kernels, None, None), (None, None, floor), (1.0, 1.0)
    periodic = (1, (6, 7), False, (-1, -2), (0, 0), 0.5, 0.0, 2, 0, "none", 0.0, unit, False)
    edges = (1, (9, 11), True, (-1, -2), (-1, -1), 0.5, 0.0, 2, 0, "shb", 0.0, unit, True)
    return [
        (*before, small, *after, None, None, "sequential", *periodic, True, False),
        (*before, large, *after, more, None, "multiplicative", *edges, True, False),
    ]


def nodes_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """Six PSFs for two images; with a background and momentum."""
    shapes = ((2, 6, 7), (2, 6, 7), (6, 3, 4), (2, 8, 10), (3, 8), (2, 10))
    image, more, kernels, large, *shares = tensors(rng, *shapes, grad=False)
    floor = torch.full((2,), 1e-6, dtype=torch.float64)
    before, after, unit = (image, kernels, None, None), (None, None, floor), (1.0, 1.0)
    edges = (1, (9, 11), True, (-1, -2), (-1, -1), 0.5, 0.0, 2, 0)
    end = (0.0, unit, True, False, False)
    return [
        (*before, large, *after, None, None, shares, *edges, "none", *end),
        (*before, large, *after, more, None, shares, *edges, "shb", *end),
    ]


def psf_terms_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """Periodic without the light, and with edges, a background and the light."""
    shapes = ((2, 6, 7), (2, 6, 7), (1, 3, 4), (2, 6, 7), (2, 8, 10))
    image, more, kernel, small, large = tensors(rng, *shapes, grad=False)
    floor = torch.full((2,), 1e-6, dtype=torch.float64)
    found = []
    for grid, padded, estimate, offset in (
        ((6, 7), False, small, (0, 0)),
        ((9, 11), True, large, (-1, -1)),
    ):
        otf = torch.ops.otfuse.make_otf(kernel, grid, padded, (-1, -2))
        arrays = (image, kernel, otf, estimate, floor, more if padded else None)
        found.append((*arrays, 0.5, 1, grid, padded, (-1, -2), offset, padded))
    return found


def convolve_add_arguments(rng: np.random.Generator) -> list[tuple[object, ...]]:
    """All of the image, and the shares of a tile of it; back with the shares of the result."""
    image, kernel, out, z, y, x = tensors(
        rng, (2, 6, 7), (1, 3, 4), (2, 6, 7), (1,), (6,), (7,), grad=False
    )
    otf = torch.ops.otfuse.make_otf(kernel, (9, 11), True, (-1, -2))
    windows = ((9, 11), True, (0, 0), (-1, -2), (0, 0), (6, 7))
    return [
        (image, otf, [], *windows, False, out.clone()),
        (image, otf, [z, y, x], *windows, True, out.clone()),
    ]


def in_place(arguments: Arguments) -> Arguments:
    """The same without derivatives, on copies."""

    def detached(rng: np.random.Generator) -> list[tuple[object, ...]]:
        return [
            tuple(a.detach().clone() if isinstance(a, torch.Tensor) else a for a in run)
            for run in arguments(rng)
        ]

    return detached
