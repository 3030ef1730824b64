# SPDX-License-Identifier: BSD-3-Clause
"""A device that puts everything off: what is queued on a stream happens when somebody waits for it,
and memory holds NaN until then."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LATE = threading.RLock()  # one thing happens at a time


class LateStream:
    def __init__(self) -> None:
        self.queue: list[Callable[[], None]] = []

    def wait_event(self, event: LateEvent) -> None:
        self.queue.append(event.synchronize)

    def step(self) -> None:
        with LATE:
            if self.queue:
                self.queue.pop(0)()


class LateEvent:
    def __init__(self, stream: LateStream) -> None:
        self.done, self._stream = False, stream
        stream.queue.append(self._happen)

    def _happen(self) -> None:
        self.done = True

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        while not self.done:
            self._stream.step()


class LateDevice:
    """In place of `Cuda`. Like CUDA's, its memory is gone with the last who knows of it."""

    def __init__(self) -> None:
        self.compute = LateStream()
        self.held: list[Tensor] = []

    def new_stream(self) -> LateStream:
        return LateStream()

    def computing(self) -> LateStream:
        return self.compute

    def pinned(self, shape: Any) -> Tensor:
        return torch.full(tuple(shape), torch.nan)

    def empty(self, shape: Any, stream: LateStream) -> Tensor:
        return torch.full(tuple(shape), torch.nan)

    def copy(self, target: Tensor, source: Tensor, stream: LateStream) -> LateEvent:
        self.queue(target, source, stream, lambda values: values)
        return self.mark(stream)

    def queue(self, target: Tensor, source: Tensor, stream: LateStream, function: Any) -> None:
        there, here = weakref.ref(target), weakref.ref(source)

        def late() -> None:
            a, b = there(), here()
            assert a is not None and b is not None, "freed before it was used"
            a.copy_(function(b))

        stream.queue.append(late)

    def mark(self, stream: LateStream) -> LateEvent:
        return LateEvent(stream)

    def used_on(self, tensor: Tensor, stream: LateStream) -> None:
        self.held.append(tensor)


class PromptStream(LateStream):
    """Waits where it is told to: for what computes at once."""

    def wait_event(self, event: LateEvent) -> None:
        event.synchronize()


class PromptDevice(LateDevice):
    """Copies are put off, computing is the host's own."""

    def __init__(self) -> None:
        super().__init__()
        self.compute = PromptStream()
        self.copies = 0

    def copy(self, target: Tensor, source: Tensor, stream: LateStream) -> LateEvent:
        self.copies += 1
        return super().copy(target, source, stream)
