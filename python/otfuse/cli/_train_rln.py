# SPDX-License-Identifier: BSD-3-Clause
"""What `otfuse train rln` trains."""

from __future__ import annotations

from typing import Any

from otfuse.cli._errors import UsageError
from otfuse.cli._train_options import TrainOptions


def rln_trainee(options: TrainOptions) -> tuple[Any, Any]:
    """A Richardson-Lucy Network and its task, as published."""
    from otfuse.nn import RLN
    from otfuse.train import RlnTask

    if options.crop < 8:
        raise UsageError(f"train: --crop must be at least 8 voxels, got {options.crop}")
    network = RLN() if options.weights is None else RLN.from_pretrained(options.weights)
    return network, RlnTask()
