# SPDX-License-Identifier: BSD-3-Clause
"""A GPU that is none, for the commands: its copies are put off (late.py)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from late import PromptDevice
from otfuse import _C, tiling
from otfuse.tiling import device, shuttle_to

PLENTY = 1 << 34


class FakeGpu:
    """As much of a GPU as the commands ask for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.device, self._patch = PLENTY, PromptDevice(), monkeypatch
        cuda = {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "mem_get_info": lambda device: (self.free, 2 * self.free),
            "get_device_name": lambda device: "Late 1",
            "get_device_properties": lambda device: SimpleNamespace(uuid="late-1"),
        }
        for name, value in cuda.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(_C, "cuda", SimpleNamespace(device_count=lambda: 1))
        monkeypatch.setattr(device, "Cuda", lambda place: self.device)
        measured = partial(tiling.measure_rate, (4, 8, 8), n_iters=1)
        monkeypatch.setattr(tiling, "measure_rate", lambda *shape, device: measured(device=device))

    def without_kernels(self) -> None:
        self._patch.setattr(_C, "cuda", None)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    shuttle_to.cache_clear()
    yield FakeGpu(monkeypatch)
    shuttle_to.cache_clear()
