# SPDX-License-Identifier: BSD-3-Clause
"""What a restoration invents: light lost or gained, rings around bodies, false edges."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .similarity import _extent, _pair


def flux_error(truth: Any, result: Any) -> float:
    """Return the relative error of the light in all, `sum(result) / sum(truth) - 1`.

    Parameters
    ----------
    truth, result : array, same shape
        In the same unit; nothing is scaled.

    Returns
    -------
    float  0 where the light is kept.

    Raises
    ------
    ValueError  if the shapes differ or the truth holds no light.
    """
    x, y = _pair("flux_error", truth, result, False)
    light = float(x.sum())
    if light <= 0:
        raise ValueError(f"flux_error: truth must hold light, got a sum of {light:g}")
    return float(y.sum()) / light - 1


def ringing(truth: Any, result: Any, reach: int = 5, gap: int = 1) -> float:
    """Return how bright the dark surroundings of bodies have become.

    The root mean square of the scaled result over the voxels that hold nothing, more than `gap`
    and at most `reach` voxels from a body, over the truth's root mean square in the bodies.

    Parameters
    ----------
    truth, result : array, same shape, 3 axes or fewer
        Bodies are where the truth exceeds a hundredth of its maximum.
    reach, gap : int
        The shell around the bodies that is looked at, in voxels; reach exceeds gap.

    Returns
    -------
    float  0 for a clean surrounding.

    Raises
    ------
    ValueError  if the shapes differ, reach does not exceed gap or no voxel lies in the shell.
    """
    x, y = _pair("ringing", truth, result, True)
    _extent("ringing", x)
    if not 0 <= gap < reach:
        raise ValueError(f"ringing: reach must exceed gap, got {reach} and {gap}")
    body = x > 0.01 * x.max()
    shell = _grown(body, reach) & ~_grown(body, gap)
    if not bool(shell.any()):
        raise ValueError("ringing: truth must leave dark voxels around its bodies, got none")
    return float(y[shell].square().mean().sqrt() / x[body].square().mean().sqrt())


def edge_energy(truth: Any, result: Any, width: int = 4) -> float:
    """Return the energy of the error near the faces, over that of the truth there.

    `sum (result - truth)^2 / sum truth^2` within `width` voxels of a face; the result is scaled to
    the truth by least squares in the interior. With a restoration of a larger field in the place
    of the truth, it is what the edges alone bring about.

    Parameters
    ----------
    truth, result : array, same shape
        What was there, or what a field without these edges gives; and what was restored.
    width : int
        Thickness of the frame in voxels.

    Returns
    -------
    float  0 where the edges leave no trace.

    Raises
    ------
    ValueError  if the shapes differ, the frame leaves no interior or the truth is dark there.
    """
    x, y = _pair("edge_energy", truth, result, False)
    if width < 1 or any(n <= 2 * width for n in x.shape if n > 1):
        raise ValueError(
            f"edge_energy: width must leave an interior of {tuple(x.shape)}, got {width}"
        )
    box = tuple(slice(width, -width) if n > 1 else slice(None) for n in x.shape)
    inside = torch.zeros_like(x, dtype=torch.bool)
    inside[box] = True
    light = float(x[~inside].square().sum())
    if light == 0:
        raise ValueError("edge_energy: truth must hold light near its faces, got none")
    power = y[inside].square().sum()
    if power > 0:
        y = y * ((x[inside] * y[inside]).sum() / power)
    return float((x - y)[~inside].square().sum()) / light


def _grown(body: Tensor, steps: int) -> Tensor:
    """Return the body with all voxels added that lie within so many steps along each axis."""
    grown = body.double()
    for axis in range(body.ndim):
        line = grown.movedim(axis, -1)
        flat = line.reshape(-1, 1, line.shape[-1])
        wide = torch.nn.functional.max_pool1d(flat, 2 * steps + 1, stride=1, padding=steps)
        grown = wide.reshape(line.shape).movedim(-1, axis)
    return grown > 0
