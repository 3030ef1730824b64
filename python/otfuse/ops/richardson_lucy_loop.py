# SPDX-License-Identifier: BSD-3-Clause
"""The loop's arguments and its body on the CPU; the op and its backward pass run a body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import engine_grid, field, is_double, on_huge_pages, triple
from otfuse.ops.fft_convolve import make_otf

TENSORS = (
    "Tensor image, Tensor kernel, Tensor? otf, Tensor? back_kernel, Tensor estimate, "
    "Tensor? previous, Tensor? change, Tensor floor, Tensor? background_map, Tensor? judged"
)
SETTINGS = (
    "SymInt inner, SymInt[] grid, bool padded, SymInt[] kernel_offset, "
    "SymInt[] estimate_offset, "
    "float background, float judged_offset, int n_iters, int first_iteration, "
    "str acceleration, float tv, float[] voxel, bool weighted, bool resumable, bool mixed"
)


class LoopTensors(NamedTuple):
    """The loop's tensors, in the order of its schema."""

    image: Tensor  # (batch, spatial...) at the grid's origin, negative where not observed
    kernel: Tensor  # (kernels, spatial...)
    otf: Tensor | None  # of kernel, where it is at hand
    back_kernel: Tensor | None  # of kernel's shape, in its place in the adjoint
    estimate: Tensor  # (batch, spatial...) in a window of its own, like the next two
    previous: Tensor | None  # shb: the estimate before; biggs: the point to start from
    change: Tensor | None  # biggs: what the last iteration added
    floor: Tensor  # (batch)
    background_map: Tensor | None  # like image: added to the background
    judged: Tensor | None  # like image: what the I-divergence is taken from


class LoopSettings(NamedTuple):
    """The loop's arguments that are not tensors, in the order of its schema."""

    inner: int  # item b of the batch is blurred with kernel (b // inner) % kernels
    grid: Sequence[int]
    padded: bool  # as in Windows
    kernel_offset: Sequence[int]
    estimate_offset: Sequence[int]  # the image lies at the origin
    background: float
    judged_offset: float  # of the model, not in `judged`
    n_iters: int
    first_iteration: int  # iterations done before, for the momentum
    acceleration: str  # "none", "shb" or "biggs"
    tv: float
    voxel: Sequence[float]
    weighted: bool  # divide by H^T 1
    resumable: bool  # return the state in the estimate's window, and the I-divergence
    mixed: bool  # a device may keep spectra in half precision


class LoopState(NamedTuple):
    """What the loop returns."""

    estimate: Tensor
    previous: Tensor
    change: Tensor
    divergence: Tensor  # (batch, n_iters)


def run_loop(
    t: LoopTensors,
    s: LoopSettings,
    otf_back: Tensor | None = None,
    place: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """See otfuse::richardson_lucy; `otf_back` is that of back_kernel, where it is at hand.

    `place` takes the estimate; it may be the image, which the loop copies before it begins.
    """
    otf = make_otf(t.kernel, s.grid, s.padded, s.kernel_offset) if t.otf is None else t.otf
    if t.back_kernel is not None and otf_back is None:
        otf_back = make_otf(t.back_kernel, s.grid, s.padded, s.kernel_offset)
    floor = t.floor.contiguous()
    loop, results = loop_arguments(t, s, place)
    loop.otf, loop.otf_back = otf.data_ptr(), 0 if otf_back is None else otf_back.data_ptr()
    loop.floor = floor.data_ptr()
    _C.richardson_lucy_cpu(is_double(t.image), loop)
    return tuple(results)


def loop_arguments(
    t: LoopTensors, s: LoopSettings, place: Tensor | None = None
) -> tuple[_C.RichardsonLucy, LoopState]:
    """All but the OTFs and the floor, and the tensors that the results come in.

    `place` is where the estimate goes, if not into a tensor of its own.
    """
    grid = engine_grid(s.grid, s.padded)
    origin = [0] * len(grid)

    def at(array: Tensor | None, offset: Sequence[int]) -> _C.Field | None:
        return None if array is None else field(array, offset, grid)

    out = empty_results(t.image, t.estimate, s)
    out = LoopState(*map(on_huge_pages, out)) if place is None else out._replace(estimate=place)
    loop = _C.RichardsonLucy()
    loop.grid, loop.batch = triple(grid, 1), t.image.shape[0]
    loop.image = field(t.image, origin, grid)
    loop.kernels, loop.inner = t.kernel.shape[0], s.inner
    loop.estimate = field(t.estimate, s.estimate_offset, grid)
    loop.previous, loop.change = (at(a, s.estimate_offset) for a in (t.previous, t.change))
    loop.out = field(out.estimate, s.estimate_offset if s.resumable else origin, grid)
    if out.previous.numel():
        loop.out_previous = field(out.previous, s.estimate_offset, grid)
    if out.change.numel():
        loop.out_change = field(out.change, s.estimate_offset, grid)
    loop.divergence = out.divergence.data_ptr() if s.resumable else 0
    loop.judged, loop.background_map = (at(a, origin) for a in (t.judged, t.background_map))
    loop.judged_offset, loop.background = s.judged_offset, s.background
    loop.n_iters, loop.first_iteration = s.n_iters, s.first_iteration
    loop.acceleration, loop.weighted = s.acceleration, s.weighted
    z, y, x = [1.0] * (3 - len(s.voxel)) + list(s.voxel)
    loop.tv, loop.voxel = s.tv, (z, y, x)
    loop.threads = torch.get_num_threads()
    return loop, out


def empty_results(image: Tensor, estimate: Tensor, s: LoopSettings) -> LoopState:
    """Room for what a run returns: of one that is not resumable only the estimate."""
    shape = estimate.shape if s.resumable else image.shape
    momentum = s.resumable and s.acceleration != "none"
    return LoopState(
        image.new_empty(shape),
        image.new_empty(shape if momentum else (0,)),
        image.new_empty(shape if momentum and s.acceleration == "biggs" else (0,)),
        image.new_empty((image.shape[0], s.n_iters if s.resumable else 0), dtype=torch.float64),
    )


# By the type of device: body(tensors, settings, otf_back).
BODIES: dict[str, Callable[..., tuple[Tensor, ...]]] = {"cpu": run_loop}
