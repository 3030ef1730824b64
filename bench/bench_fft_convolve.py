# SPDX-License-Identifier: BSD-3-Clause
"""The entries of fft_convolve under pytest-benchmark."""

import pytest

from entry import FFT_CONVOLVE
from otfuse.bench.cases import build_case
from otfuse.bench.runner import checked_error

N_ITERS = 5


@pytest.mark.parametrize("contender", ["otfuse", "plain"])
@pytest.mark.parametrize("entry", FFT_CONVOLVE, ids=lambda entry: entry.name)
def test_fft_convolve(benchmark, entry, contender):
    benchmark.group = entry.name
    case = build_case(entry)
    who = getattr(case, contender)
    error = checked_error(entry, contender, who.cold(), case.reference())
    benchmark.extra_info.update(error=error, n_iters=N_ITERS, voxels=case.voxels)
    benchmark.pedantic(who.prepare(), args=(N_ITERS,), rounds=3, warmup_rounds=1)
