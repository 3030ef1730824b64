# SPDX-License-Identifier: BSD-3-Clause
"""Tiles to a device and results back while it computes: pinned buffers, streams of their own."""

from __future__ import annotations

import math
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from otfuse.functional._devices import gpu_count
from otfuse.tiling.plan import Tile, TilePlan
from otfuse.tiling.stream import Rows, in_turns


class Cuda:
    """What a shuttle asks of CUDA, for one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def new_stream(self) -> Any:
        """A stream besides the one that computes."""
        return torch.cuda.Stream(self._device)

    def computing(self) -> Any:
        """The stream on which the calling thread computes."""
        return torch.cuda.current_stream(self._device)

    def pinned(self, shape: Sequence[int]) -> Tensor:
        """Memory of the host that the device can read and write by itself."""
        return torch.empty(tuple(shape), dtype=torch.float32, pin_memory=True)

    def empty(self, shape: Sequence[int], stream: Any) -> Tensor:
        """Memory of the device that belongs to a stream."""
        with torch.cuda.stream(stream):
            return torch.empty(tuple(shape), dtype=torch.float32, device=self._device)

    def copy(self, target: Tensor, source: Tensor, stream: Any) -> Any:
        """Queue a copy; the event of its end."""
        with torch.cuda.stream(stream):
            target.copy_(source, non_blocking=True)
        return self.mark(stream)

    def mark(self, stream: Any) -> Any:
        """The event of the end of all that a stream has been given."""
        event = torch.cuda.Event()
        event.record(stream)
        return event

    def used_on(self, tensor: Tensor, stream: Any) -> None:
        """Have a tensor's memory given to others only when the stream is done with it, too."""
        tensor.record_stream(stream)


class Sent(NamedTuple):
    """Arrays on their way to the device, and the event of their arrival."""

    arrays: list[Tensor]
    arrived: Any


class Returned(NamedTuple):
    """A result on its way back, and the events of it being computed and of its arrival."""

    host: Tensor
    computed: Any
    arrived: Any


class Stages(Protocol):
    """What restores tiles on a device."""

    def prepare(self, tile: Tile, counts: Any) -> Sequence[np.ndarray]:
        """What the device is given, float32; may overwrite the counts."""

    def compute(self, tile: Tile, arrays: Sequence[Tensor]) -> Tensor:
        """Queues the work; waits for nothing."""

    def finish(self, result: np.ndarray) -> np.ndarray:
        """What is left to do on the host."""


class Shuttle:
    """Carries float32 arrays between the host and one device without anyone waiting.

    `send` and `fetch` may be called in other threads than `take` and `give`, which belong to the
    one that computes.

    Parameters
    ----------
    cuda : Cuda
        Of the device.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._up, self._down = cuda.new_stream(), cuda.new_stream()
        # Pinned buffers that a copy may still be reading, in the order of the copies.
        self._read: deque[tuple[Any, Tensor]] = deque()
        self._lock = threading.Lock()

    def send(self, *arrays: np.ndarray) -> Sent:
        """Begin to copy arrays to the device; theirs are free as soon as this returns."""
        with self._lock:
            while self._read and self._read[0][0].query():
                self._read.popleft()
        sent: list[Tensor] = []
        arrived = None
        for array in arrays:
            host = self._cuda.pinned(array.shape)
            host.copy_(torch.from_numpy(array))
            there = self._cuda.empty(array.shape, self._up)
            arrived = self._cuda.copy(there, host, self._up)
            with self._lock:
                self._read.append((arrived, host))
            sent.append(there)
        return Sent(sent, arrived)

    def take(self, sent: Sent) -> list[Tensor]:
        """The arrays, for what is queued from now on where this thread computes."""
        stream = self._cuda.computing()
        stream.wait_event(sent.arrived)
        for array in sent.arrays:
            self._cuda.used_on(array, stream)
        return sent.arrays

    def give(self, result: Tensor) -> Returned:
        """Begin to copy a result to the host as soon as it is computed."""
        computed = self._cuda.mark(self._cuda.computing())
        self._down.wait_event(computed)
        host = self._cuda.pinned(result.shape)
        arrived = self._cuda.copy(host, result, self._down)
        self._cuda.used_on(result, self._down)
        return Returned(host, computed, arrived)

    def fetch(self, returned: Returned) -> np.ndarray:
        """The result, once it is there."""
        returned.arrived.synchronize()
        return returned.host.numpy()


@lru_cache
def shuttle_to(device: str) -> Shuttle | None:
    """What carries tiles to a device; None where they are at hand: on the CPU nothing is copied."""
    place = torch.device(device)
    return Shuttle(Cuda(place)) if place.type == "cuda" else None


class AtHand:
    """A shuttle that has nowhere to go: arrays are where they are computed with."""

    def send(self, *arrays: np.ndarray) -> list[Tensor]:
        """The arrays themselves."""
        return [torch.from_numpy(array) for array in arrays]

    def take(self, sent: list[Tensor]) -> list[Tensor]:
        """The same."""
        return sent

    def give(self, result: Tensor) -> Tensor:
        """The same."""
        return result

    def fetch(self, returned: Tensor) -> np.ndarray:
        """The same."""
        return returned.numpy()


def carrier_to(device: str) -> Any:
    """A shuttle to a device; on the CPU one that copies nothing."""
    return shuttle_to(device) or AtHand()


def to_device(device: str, array: np.ndarray) -> Tensor:
    """A float32 array where a device computes; on the CPU the array itself."""
    carrier = carrier_to(device)
    there: Tensor = carrier.take(carrier.send(array))[0]
    return there


def from_device(device: str, result: Tensor) -> np.ndarray:
    """What a device computed, once it is here."""
    carrier = carrier_to(device)
    array: np.ndarray = carrier.fetch(carrier.give(result))
    return array


class Gpu(NamedTuple):
    """The GPU that a process computes on.

    Attributes
    ----------
    name : str
        Nobody else's.
    free : int
        Bytes.
    """

    name: str
    free: int


def gpu_here() -> Gpu | None:
    """That of this process; None where there is none, or none that the core was built for."""
    if gpu_count() == 0:
        return None
    name = f"{socket.gethostname()} {torch.cuda.get_device_properties(0).uuid}"
    return Gpu(name, torch.cuda.mem_get_info(0)[0])


def pinned_bytes(shape: Sequence[int]) -> int:
    """Memory of the host that a buffer takes: torch makes it a power of two, and keeps it."""
    return 1 << (4 * math.prod(shape) - 1).bit_length()


def restore_on_device(
    shuttle: Shuttle, stages: Stages, tile: Tile, counts: np.ndarray, turn: threading.Lock
) -> np.ndarray:
    """A tile's result; while one thread's tile is computed others' are under way.

    Parameters
    ----------
    shuttle : Shuttle
    stages : Stages
    tile : Tile
    counts : ndarray
    turn : Lock
        Held while the device computes, so that it holds the work on one tile at a time.
    """
    sent = shuttle.send(*stages.prepare(tile, counts))
    with turn:
        returned = shuttle.give(stages.compute(tile, shuttle.take(sent)))
        returned.computed.synchronize()
    return stages.finish(shuttle.fetch(returned))


def stream_through(
    shuttle: Shuttle,
    stages: Stages,
    plan: TilePlan,
    read: Callable[[Tile], Any],
    write: Callable[[int, np.ndarray], None],
    told: Callable[[], None],
    *,
    window: str = "linear",
) -> None:
    """`stream_tiles` for a device: while it computes, the next tile is read and on its way there,
    and the last one on its way back, blended and written.

    Parameters
    ----------
    shuttle : Shuttle
    stages : Stages
    plan : TilePlan
    read : callable
        Gives what `stages.prepare` takes as a tile's counts.
    write : callable
        Takes the first row of a block along the first cut axis, and the block.
    told : callable
        Called after each tile.
    window : {"linear", "smooth"}
    """
    rows = Rows(plan, window)

    def send(tile: Tile) -> Sent:
        return shuttle.send(*stages.prepare(tile, read(tile)))

    def compute(tile: Tile, sent: Sent) -> Returned:
        return shuttle.give(stages.compute(tile, shuttle.take(sent)))

    def finish(returned: Returned) -> None:
        block = rows.add(stages.finish(shuttle.fetch(returned)))
        told()
        if block is not None:
            write(*block)

    in_turns(plan, send, compute, finish)
