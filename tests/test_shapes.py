# SPDX-License-Identifier: BSD-3-Clause
"""next_fast_shape and the memory plan."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import otfuse
from compare import assert_close
from samples import counts


def smooth(n: int) -> bool:
    """Whether no prime factor of n is over 7."""
    for factor in (2, 3, 5, 7):
        while n % factor == 0:
            n //= factor
    return n == 1


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=3))
def test_next_fast_shape(shape: list[int]) -> None:
    fast = otfuse.next_fast_shape(tuple(shape))
    assert type(fast) is tuple
    assert len(fast) == len(shape)
    for n, f in zip(shape, fast, strict=True):
        assert smooth(f)
        # Never further than the next power of two.
        assert n <= f <= 2 ** math.ceil(math.log2(n))


def test_next_fast_shape_keeps_good_extents() -> None:
    assert otfuse.next_fast_shape((64, 256, 256)) == (64, 256, 256)
    assert otfuse.next_fast_shape((1, 1)) == (1, 1)
    assert otfuse.next_fast_shape([128, 128]) == (128, 128)


@pytest.mark.parametrize("boundary", ["circular", "extended", "reflect"])
@pytest.mark.parametrize(
    ("image", "psf"), [((40, 201, 101), (79, 179, 179)), ((100, 97), (15, 16))], ids=["3d", "2d"]
)
def test_plan_holds_image_and_blur(
    image: tuple[int, ...], psf: tuple[int, ...], boundary: str
) -> None:
    if boundary == "circular":
        psf = tuple(min(k, n) for k, n in zip(psf, image, strict=True))
    plan = otfuse.plan_richardson_lucy(image, psf, boundary=boundary)
    if boundary == "circular":
        assert plan.grid == image
    else:
        for g, n, k in zip(plan.grid, image, psf, strict=True):
            assert n + k - 1 <= g
            assert smooth(g)
    assert plan.padded_voxels >= math.prod(plan.grid)
    assert plan.bytes_per_voxel == pytest.approx(plan.work_bytes / plan.padded_voxels)
    assert plan.seconds_per_iteration > 0


def test_plan_keeps_the_promise_on_memory() -> None:
    """Bytes per padded voxel in float32: 16 periodic, 24 with edges and momentum."""
    image, psf = (64, 256, 256), (15, 31, 31)
    plain = otfuse.plan_richardson_lucy(image, psf, boundary="circular")
    edges = otfuse.plan_richardson_lucy(image, psf, acceleration="shb")
    assert plain.bytes_per_voxel <= 16.5
    assert edges.bytes_per_voxel <= 24.5
    double = otfuse.plan_richardson_lucy(image, psf, boundary="circular", dtype="float64")
    assert double.work_bytes == pytest.approx(2 * plain.work_bytes, rel=0.05)
    momentum = otfuse.plan_richardson_lucy(image, psf, boundary="circular", acceleration="shb")
    assert momentum.work_bytes > plain.work_bytes
    masked = otfuse.plan_richardson_lucy(image, psf, boundary="circular", mask=True)
    assert masked.work_bytes > plain.work_bytes


PEAK = """
import torch, otfuse
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
image, psf = torch.rand(64, 192, 192), torch.rand(9, 21, 31)
otfuse.richardson_lucy(image[:2, :9, :9], psf[:2, :5, :5], 2)
before = peak()
otfuse.richardson_lucy(image, psf, 3, boundary="{boundary}", acceleration={acceleration!r})
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("boundary", "acceleration"), [("circular", None), ("extended", "shb")])
def test_measured_peak_confirms_the_plan(boundary: str, acceleration: str | None) -> None:
    """The loop's memory is the plan's; the result and the allocator's pages come on top."""
    script = PEAK.format(boundary=boundary, acceleration=acceleration)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    plan = otfuse.plan_richardson_lucy(
        (64, 192, 192), (9, 21, 31), boundary=boundary, acceleration=acceleration
    )
    result = 4 * 64 * 192 * 192
    measured = int(done.stdout)
    assert 0.8 * plan.work_bytes <= measured <= plan.work_bytes + result + (8 << 20)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 45), (201, 63), (31, 105), (2, 3, 5), (13, 1, 17), (1, 1, 1)], ids=str
)
def test_circular_is_exact_on_any_extent(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """A delta in the corner of a PSF as large as the image moves it by half of every axis."""
    image = counts(rng, shape, torch.float64)
    psf = torch.zeros(shape, dtype=torch.float64)
    psf[(0,) * len(shape)] = 1
    moved = image.roll(tuple(-(n // 2) for n in shape), tuple(range(len(shape))))
    assert_close(otfuse.fft_convolve(image, psf), moved, "moved")
