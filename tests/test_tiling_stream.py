# SPDX-License-Identifier: BSD-3-Clause
"""Tiles chosen for a budget of memory, and worked on while others are read and written."""

import threading
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otfuse.tiling import cut, plan_tiles, plan_within, stream_tiles


@given(
    shape=st.tuples(*[st.integers(2, 90)] * 3),
    budget=st.integers(20_000, 500_000),
    margin=st.sampled_from([0, 2, 6]),
)
def test_plan_fits_and_covers(shape, budget, margin):
    try:
        plan = plan_within(shape, prod, budget, overlap=2 * margin + 4, multiple=2, margin=margin)
    except ValueError:
        # Tiles may be cut to twice the overlap or a little more, or are uncut below that.
        smallest = [min(n, 2 * (2 * margin + 4) + 2) for n in shape]
        assert prod(smallest) > budget // 8
        return
    covered = np.zeros(shape, int)
    for tile in plan:
        assert prod(tile.shape) <= budget
        assert all(a % 2 == 0 for a in tile.start)
        covered[tile.slices] += 1
    assert covered.min() >= 1
    if prod(shape) <= budget:
        assert len(plan) == 1


def test_plan_prefers_the_least_waste():
    # 200 whole rows at a time would compute a fifth twice; cutting x in two wastes less.
    whole, budget = (1000, 50, 1000), 10_000_000
    plan = plan_within(whole, prod, budget, overlap=40, multiple=2, margin=18)
    assert sum(prod(tile.shape) for tile in plan) < 1.16 * prod(whole)
    assert plan.grid == (2, 1, 3) or plan.grid == (3, 1, 2)


def test_plan_rejects_what_cannot_fit():
    with pytest.raises(ValueError, match=r"must hold the work on a tile of \(.*bytes, got 10"):
        plan_within((100, 100, 100), prod, 10, overlap=8)
    with pytest.raises(ValueError, match="max_bytes must be at least 1"):
        plan_within((100, 100, 100), prod, 0, overlap=8)


@pytest.mark.parametrize("window", ["linear", "smooth"])
def test_stream_gives_the_whole(rng, window):
    whole = rng.uniform(0, 1, (23, 5, 31)).astype(np.float32)
    plan = plan_tiles(whole.shape, (12, 5, 14), (6, 0, 6), multiple=2)
    out = np.full(whole.shape, np.nan, np.float32)
    threads = set()

    def read(tile):
        threads.add(threading.current_thread())
        return cut(whole, tile)

    def write(row, block):
        threads.add(threading.current_thread())
        out[row : row + len(block)] = block

    stream_tiles(plan, read, lambda tile: 2 * tile + 1, write, window=window)
    np.testing.assert_allclose(out, 2 * whole + 1, rtol=1e-6)
    assert len(threads) == 2
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("where", ["read", "compute", "write"])
def test_stream_passes_errors_on(where):
    plan = plan_tiles((20, 20), 8, 2)

    def failing(name):
        def step(*arguments):
            if name == where:
                raise OSError(f"{name} failed")
            return np.zeros(arguments[0].shape, np.float32)

        return step

    with pytest.raises(OSError, match=f"{where} failed"):
        stream_tiles(plan, failing("read"), failing("compute"), failing("write"))
