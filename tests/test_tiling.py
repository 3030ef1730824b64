# SPDX-License-Identifier: BSD-3-Clause
"""Tiles: they cover the whole, their weights sum to 1, and a local operation does not see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from otfuse.tiling import WINDOWS, Blend, TilePlan, blend, cut, map_tiles, plan_tiles, seam_size
from otfuse.tiling.blend import tile_weight


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    ndim = draw(st.integers(1, 3))
    multiple = draw(st.integers(1, 4))
    margin = draw(st.integers(0, 2))
    overlap = draw(st.integers(2 * margin, 9))
    tile = overlap + multiple + draw(st.integers(0, 7))
    shape = draw(st.tuples(*[st.integers(1, 40)] * ndim))
    return plan_tiles(shape, tile, overlap, multiple=multiple, margin=margin)


@given(plans())
def test_tiles_cover_the_whole_on_the_lattice(plan: TilePlan) -> None:
    times = np.zeros(plan.shape, int)
    for tile in plan:
        assert all(
            0 <= a < b <= n for a, b, n in zip(tile.start, tile.stop, plan.shape, strict=True)
        )
        cut(times, tile)[...] += 1
    assert times.min() >= 1
    assert len(list(plan)) == len(plan)


@given(plans(), st.sampled_from(WINDOWS))
def test_weights_sum_to_one_and_vanish_in_the_margins(plan: TilePlan, window: str) -> None:
    for axis, n in enumerate(plan.shape):
        total = np.zeros(n)
        for i, start in enumerate(plan.starts[axis]):
            weight = np.array(tile_weight(plan, axis, i, window))
            assert weight.min() >= 0
            margin = plan.margin[axis]
            if i > 0:
                assert not weight[:margin].any()
            if i + 1 < plan.grid[axis]:
                assert not weight[len(weight) - margin :].any()
            total[start : start + len(weight)] += weight
        np.testing.assert_allclose(total, 1, atol=1e-14)


@given(plans(), st.sampled_from(WINDOWS))
def test_blending_what_was_cut_gives_the_whole(plan: TilePlan, window: str) -> None:
    whole = np.random.default_rng(len(plan)).normal(size=(2, *plan.shape))
    blocks = list(blend(plan, (cut(whole, tile) for tile in plan), window=window))
    assert len(blocks) == plan.grid[0]
    np.testing.assert_allclose(np.concatenate(blocks, -plan.ndim), whole, atol=1e-13)


@pytest.mark.parametrize(("shape", "tile", "overlap"), [((50, 61), 24, 10), ((9, 30, 33), 16, 10)])
def test_a_local_operation_does_not_see_tiles(
    shape: tuple[int, ...], tile: int, overlap: int
) -> None:
    """A reach of 5 lies in the margin: tiled is untiled, on the lattice that pooling needs."""
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def run(part: torch.Tensor) -> torch.Tensor:
        """Mean over pairs on the lattice, doubled again, then a mean of 7: no voxel beyond 5."""
        for axis in range(part.ndim):
            even = part.index_select(axis, torch.arange(part.shape[axis]) // 2 * 2)
            part = even
            for shift in (1, 2, 3):
                part = part + even.roll(shift, axis) + even.roll(-shift, axis)
        return part

    plan = plan_tiles(shape, tile, overlap, multiple=2, margin=5)
    assert len(plan) > 4
    blocks = list(blend(plan, (run(cut(whole, t)) for t in plan)))
    tiled, untiled = torch.cat(blocks), run(whole)
    inner = tuple(slice(5, n - 5) if n > 16 else slice(None) for n in shape)
    torch.testing.assert_close(tiled[inner], untiled[inner], rtol=0, atol=1e-12)


def test_keeps_kind_and_working_type() -> None:
    plan = plan_tiles((10, 12), 8, 2)
    floats = list(blend(plan, (np.ones(t.shape, np.float16) for t in plan)))
    assert all(isinstance(b, np.ndarray) and b.dtype == np.float32 for b in floats)
    tensors = list(blend(plan, (torch.ones(t.shape, dtype=torch.float64) for t in plan)))
    assert all(b.dtype == torch.float64 for b in tensors)


def test_last_tile_moves_inwards() -> None:
    plan = plan_tiles((100,), 32, 8, multiple=4)
    assert plan.starts == ((0, 24, 48, 68),)
    assert plan_tiles((101,), 32, 8, multiple=4).starts == ((0, 24, 48, 72),)
    assert [t.shape for t in plan_tiles((101,), 32, 8, multiple=4)][-1] == (29,)
    assert len(plan_tiles((20, 32), 32, 8)) == 1


def test_holds_one_row_of_tiles() -> None:
    """Each block is handed out before a tile of the row after the next is asked for."""
    plan, asked = plan_tiles((64, 8), (16, 8), (4, 0)), []

    def results():
        for tile in plan:
            asked.append(tile.index[0])
            yield np.ones(tile.shape, np.float32)

    for row, block in enumerate(blend(plan, results())):
        assert max(asked) == row and block.shape[0] in (12, 16)


def test_seams_are_seen_where_they_are(rng: np.random.Generator) -> None:
    plan = plan_tiles((64, 64), 32, 0)
    flat = rng.normal(size=(64, 64)).astype(np.float32)
    assert seam_size(plan, flat).ratio == pytest.approx(1, abs=0.2)
    stepped = flat.copy()
    stepped[:, 32:] += 10
    assert seam_size(plan, stepped).ratio > 3
    blended = plan_tiles((64, 64), 48, 32)
    assert seam_size(blended, stepped).ratio > 3  # the ramp's middle is column 32 here too
    assert seam_size(plan_tiles((64, 64), 64, 0), flat).across == 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"tile": 8, "overlap": 8}, ValueError, "tile must exceed overlap by at least 1"),
        ({"tile": 16, "overlap": 64}, ValueError, "tile must exceed overlap"),
        ({"tile": 10, "overlap": 8, "multiple": 4}, ValueError, "by at least 4"),
        ({"tile": 8, "overlap": 3, "margin": 2}, ValueError, "at least twice the margin"),
        ({"tile": 0, "overlap": 0}, ValueError, "tile must be at least 1"),
        ({"tile": 8, "overlap": -1}, ValueError, "overlap must be at least 0"),
        ({"tile": (8, 8), "overlap": 0}, ValueError, "one number per axis"),
        ({"shape": (), "tile": 8, "overlap": 0}, ValueError, "one number per axis"),
        ({"tile": True, "overlap": 0}, TypeError, "whole number"),
    ],
)
def test_rejects_plans(arguments: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        plan_tiles(**{"shape": (20,), **arguments})


def test_rejects_results() -> None:
    plan = plan_tiles((20,), 12, 2)
    with pytest.raises(ValueError, match="tile's extents"):
        Blend(plan).add(np.zeros(11))
    with pytest.raises(ValueError, match="got 1 for 2"):
        list(blend(plan, [np.zeros(12)]))
    with pytest.raises(ValueError, match="got over 2"):
        list(blend(plan, [np.zeros(12)] * 3))
    with pytest.raises(ValueError, match="window must be one of"):
        Blend(plan, window="square")


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_map_tiles(kind, rng: np.random.Generator) -> None:
    """Batches of tiles of one shape, in the kind that was given."""
    whole, seen = rng.normal(size=(50, 41)), []
    plan = plan_tiles(whole.shape, 16, 4, multiple=4)

    def negative(tiles):
        assert isinstance(tiles, type(kind(whole)))
        seen.append(len(tiles))
        return -tiles

    blocks = list(map_tiles(negative, kind(whole), plan, batch=3))
    np.testing.assert_allclose(np.concatenate([np.asarray(b) for b in blocks]), -whole, atol=1e-13)
    assert sum(seen) == len(plan) and max(seen) == 3
