# SPDX-License-Identifier: BSD-3-Clause
"""What a Richardson-Lucy job takes, known before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from otfuse import _checks, ops
from otfuse.functional._geometry import (
    BOUNDARIES,
    circular_geometry,
    extended_geometry,
    psf_widths,
)

# A voxel of the grid and an iteration on one AVX-512 core with data in memory; a guide only.
_NANOSECONDS = {"avx512": 4.0, "avx2": 5.5, "baseline": 10.0}
STOPS = ("idiv", "held_out", "gradient_consensus")
_ITEM = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class MemoryPlan:
    """The grid and the memory of a Richardson-Lucy loop.

    `stop_bytes` is what a stop rule holds besides `work_bytes` and the result.
    """

    grid: tuple[int, ...]
    work_bytes: int
    padded_voxels: int
    seconds_per_iteration: float
    stop_bytes: int = 0

    @property
    def bytes_per_voxel(self) -> float:
        """Memory of the loop over the voxels of the grid."""
        return self.work_bytes / self.padded_voxels


def smooth_extent(n: int) -> int:
    """The smallest 7-smooth number of at least n."""
    while True:
        rest = n
        for p in (2, 3, 5, 7):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += 1


def reflected_widths(shape: Sequence[int], psf_shape: Sequence[int]) -> list[tuple[int, int]]:
    """Padding by reflection to a fast grid on which the PSF does not wrap onto the image."""
    widths = []
    for n, k, (before, _) in zip(shape, psf_shape, psf_widths(psf_shape), strict=True):
        widths.append((before, smooth_extent(n + k - 1) - n - before))
    return widths


def plan_richardson_lucy(
    image_shape: Sequence[int],
    psf_shape: Sequence[int],
    *,
    boundary: str = "extended",
    acceleration: str | None = None,
    back_projector: bool = False,
    tv: bool = False,
    mask: bool = False,
    stop: str | None = None,
    dtype: str = "float32",
    threads: int | None = None,
    device: str = "cpu",
) -> MemoryPlan:
    """Grid, memory and an estimate of the time of `richardson_lucy` for one image.

    Parameters
    ----------
    image_shape, psf_shape : sequence of int
        Spatial shapes.
    boundary, acceleration
        As in `richardson_lucy`.
    back_projector, tv, mask : bool
        Whether there will be a back projector of its own, a total variation, pixels left out.
    stop
        As in `richardson_lucy`.
    dtype : {"float32", "float64"}
    threads : int, optional
        By default `torch.get_num_threads()`.
    device : {"cpu", "cuda"}
        Whose memory it is.

    Returns
    -------
    MemoryPlan
        `work_bytes` is what the loop allocates: estimate, image, spectrum, OTF, weights and
        momentum, and the threads' buffers; the caller's arrays are not counted, nor
        `stop_bytes`, the arrays of the stop.

    Raises
    ------
    ValueError
        If an argument is unknown, or the psf is larger than a circular image.
    """
    function = "plan_richardson_lucy"
    _checks.one_of(function, "boundary", boundary, BOUNDARIES)
    _checks.one_of(function, "acceleration", acceleration, (None, "shb", "biggs"))
    _checks.one_of(function, "stop", stop, (None, *STOPS))
    _checks.one_of(function, "dtype", dtype, ("float32", "float64"))
    _checks.one_of(function, "device", device, ("cpu", "cuda"))
    for name, shape in (("image_shape", image_shape), ("psf_shape", psf_shape)):
        for n in shape:
            _checks.at_least(function, name, n, 1)
    if len(psf_shape) != len(image_shape):
        raise ValueError(
            f"{function}: psf_shape must have the axes of image_shape, got {tuple(psf_shape)} "
            f"and {tuple(image_shape)}"
        )
    if boundary == "extended":
        geometry = extended_geometry(image_shape, psf_shape)
    elif boundary == "circular":
        _checks.fits(function, psf_shape, image_shape)
        geometry = circular_geometry(image_shape, psf_shape)
    else:
        widths = reflected_widths(image_shape, psf_shape)
        wide = [n + a + b for n, (a, b) in zip(image_shape, widths, strict=True)]
        geometry = circular_geometry(wide, psf_shape)
    grid = tuple(ops.engine_grid(geometry.grid, geometry.padded))
    weighted = mask or boundary == "extended"
    work = partial(
        ops.richardson_lucy_bytes,
        grid,
        geometry.image_shape,
        double=dtype == "float64",
        unmatched=back_projector,
        tv=tv,
        weighted=weighted,
        threads=threads,
        device=device,
    )
    work_bytes = work(acceleration=acceleration or "none")
    late = max(0, work(acceleration="shb") - work_bytes) if stop == "held_out" else 0
    voxels = math.prod(grid)
    per_voxel = _NANOSECONDS[ops.simd_level()] * (2 if dtype == "float64" else 1)
    seconds = 1e-9 * per_voxel * voxels / ops.thread_count(threads)
    held = late + _stop_bytes(
        stop,
        _ITEM[dtype],
        (math.prod(geometry.image_shape), voxels, math.prod(geometry.estimate_shape)),
        {None: 1, "shb": 2, "biggs": 3}[acceleration],
        weighted,
        device,
    )
    return MemoryPlan(grid, work_bytes, voxels, seconds, held)


def _stop_bytes(
    stop: str | None,
    item: int,
    voxels: tuple[int, int, int],
    states: int,
    weighted: bool,
    device: str,
) -> int:
    """Arrays of a stop besides the loop's and the result.

    Parameters
    ----------
    stop : str or None
    item : int
        Bytes of a number.
    voxels : (image, grid, estimate)
    states : int
        Arrays that go from one call of the loop to the next.
    weighted : bool
        Whether edges or hidden pixels are weighted.
    device : str
        On one "gradient_consensus" is not a loop but operations with an array for each.
    """
    image, grid, estimate = (item * n for n in voxels)
    if stop == "idiv":  # a call's arrays and those that it makes
        return 2 * states * estimate - image
    if stop == "held_out":  # halves, late estimates, and two runs: one between calls, one in one
        return 4 * image + grid + 3 * states * estimate
    if stop == "gradient_consensus":  # halves twice, the loop's second spectrum and correction
        if device == "cuda":
            return 8 * image + (8 if weighted else 6) * estimate
        return 4 * image + 2 * grid + (3 if weighted else 2) * estimate
    return 0
