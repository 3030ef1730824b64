# SPDX-License-Identifier: BSD-3-Clause
"""RLN down a volume, some rows at a time: the same bits as the whole volume at once."""

import pytest
import torch

from compare import assert_same
from otfuse.functional import RlnRows, rln, row_strips
from test_rln import made_up, volume
from test_rln_core import EXTENTS, STRIPS


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("extents", [*STRIPS, *EXTENTS[:2]], ids=str)
def test_same_as_the_whole(rng, extents, views, simd_level, set_threads):
    set_threads(2)
    weights = made_up(rng, torch.float32, views=views).packed_weights()
    image = volume(rng, 1, views, *extents, dtype=torch.float32)
    walk = RlnRows(extents, weights, views=views)
    made = [walk.restore(image[0][:, :, strip.reads]) for strip in walk.strips]
    assert_same(torch.cat(made, 1), rln(image, weights)[0, 0], "rows")


def test_strips_are_all_rows_once():
    strips = row_strips((4, 200, 210))
    assert len(strips) > 2
    rows = [y for strip in strips for y in range(200)[strip.makes]]
    assert rows == list(range(200))
    height = max(strip.reads.stop - strip.reads.start for strip in strips)
    assert height < 150
    assert row_strips((4, 20, 21)) == ((slice(0, 20), slice(0, 20), range(0, 1)),)


def test_threads_of_the_beginning_count(rng, set_threads):
    set_threads(2)
    weights = made_up(rng, torch.float32).packed_weights()
    image = volume(rng, 1, 1, *STRIPS[1], dtype=torch.float32)
    walk = RlnRows(STRIPS[1], weights)
    set_threads(1)
    made = [walk.restore(image[0][:, :, strip.reads]) for strip in walk.strips]
    assert_same(torch.cat(made, 1), rln(image, weights)[0, 0], "rows")


def test_defaults_of_torch_do_not_matter(rng):
    weights = made_up(rng, torch.float32).packed_weights()
    image = volume(rng, 1, 1, 4, 8, 8, dtype=torch.float32)
    with torch.device("meta"):
        walk = RlnRows((4, 8, 8), weights)
    assert_same(walk.restore(image[0]), rln(image, weights)[0, 0], "rows")


def test_rejects(rng):
    weights = made_up(rng, torch.float32).packed_weights()
    with pytest.raises(ValueError, match=r"RlnRows: extents must be at least 2 each, got \(1,"):
        RlnRows((1, 8, 8), weights)
    with pytest.raises(ValueError, match="views must be one of"):
        RlnRows((4, 8, 8), weights, views=3)
    with pytest.raises(TypeError, match="weights must be float32 on the CPU"):
        RlnRows((4, 8, 8), weights.double())
    walk = RlnRows((4, 8, 8), weights)
    with pytest.raises(ValueError, match=r"rows 0 to 8 .* \(1, 4, 8, 8\), got \(1, 4, 7, 8\)"):
        walk.restore(torch.zeros(1, 4, 7, 8))
    with pytest.raises(TypeError, match="image must be float32"):
        walk.restore(torch.zeros(1, 4, 8, 8, dtype=torch.float64))
    walk.restore(torch.zeros(1, 4, 8, 8))  # what was refused is no step
    with pytest.raises(ValueError, match="once each, got one more than 1"):
        walk.restore(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="weights must hold"):
        RlnRows((4, 8, 8), weights[:-1]).restore(torch.zeros(1, 4, 8, 8))
