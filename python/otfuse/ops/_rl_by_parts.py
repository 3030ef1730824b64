# SPDX-License-Identifier: BSD-3-Clause
"""The loop made of otfuse::fft_convolve and plain torch, for what a device has no kernels for.

Biggs & Andrews' step needs sums over the whole image, the total variation differences between
neighbours. The equations are those of the backward pass (ops/_rl_step_back.py), run forwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from otfuse.ops._rl_step_back import Iteration, State
from otfuse.ops.richardson_lucy_loop import LoopSettings, LoopState, LoopTensors, empty_results


def run_by_parts(t: LoopTensors, s: LoopSettings) -> tuple[Tensor, ...]:
    """See otfuse::richardson_lucy."""
    loop = Iteration(t, s, False, False)
    state, _ = loop.start()
    results = empty_results(t.image, t.estimate, s)
    for i in range(s.n_iters):
        state, expected = loop.forward(state, s.first_iteration + i + 1)
        if s.resumable:
            results.divergence[:, i] = _divergence(t, s, expected, loop)
    return tuple(_filled(results, state, t, s))


def _divergence(t: LoopTensors, s: LoopSettings, expected: Tensor, loop: Iteration) -> Tensor:
    """Sum of y log(y / m) - y + m over what was observed, of each item."""
    y, m = t.image, expected
    if t.judged is not None:
        y, m = t.judged, (expected - s.judged_offset).maximum(loop.floor)
    terms = torch.where(y >= 0, torch.xlogy(y, y / m) - y + m, 0)
    return terms.double().sum(tuple(range(1, y.ndim)))


def _filled(results: LoopState, state: State, t: LoopTensors, s: LoopSettings) -> LoopState:
    """The last state in the tensors that a run returns."""
    estimate = state.estimate
    if not s.resumable:
        places = zip(s.estimate_offset, t.image.shape[1:], strict=True)
        estimate = estimate[(slice(None), *(slice(-o, n - o) for o, n in places))]
    results.estimate.copy_(estimate)
    if results.previous.numel():
        results.previous.copy_(state.previous)
    if results.change.numel():
        results.change.copy_(state.change)
    return results
