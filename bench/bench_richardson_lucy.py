# SPDX-License-Identifier: BSD-3-Clause
"""The entries of richardson_lucy under pytest-benchmark."""

import pytest

from entry import RICHARDSON_LUCY
from otfuse.bench.cases import build_case
from otfuse.bench.runner import checked_error

N_ITERS = 5


@pytest.mark.parametrize("contender", ["otfuse", "plain"])
@pytest.mark.parametrize("entry", RICHARDSON_LUCY, ids=lambda entry: entry.name)
def test_richardson_lucy(benchmark, entry, contender):
    benchmark.group = entry.name
    case = build_case(entry)
    who = getattr(case, contender)
    error = checked_error(entry, contender, who.cold(), case.reference())
    benchmark.extra_info.update(error=error, n_iters=N_ITERS, voxels=case.voxels)
    benchmark.pedantic(who.prepare(), args=(N_ITERS,), rounds=3, warmup_rounds=1)
