# SPDX-License-Identifier: BSD-3-Clause
"""Tiles to a device and back: nothing is used before it is there, nothing reused before it is done.

The device is one that puts everything off.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from late import LateDevice
from otfuse import tiling
from otfuse.tiling import Tile, cut, plan_tiles, restore_on_device, shuttle_to, stream_through
from otfuse.tiling.device import Shuttle


class Doubled:
    """Stages that double the sum of what they are given, late."""

    def __init__(self, device: LateDevice) -> None:
        self._device = device

    def prepare(self, tile: Tile, counts: list[np.ndarray]) -> list[np.ndarray]:
        return counts

    def compute(self, tile: Tile, arrays: list[Tensor]) -> Tensor:
        out = torch.full(arrays[0].shape, torch.nan)
        for array in arrays:
            self._device.queue(out, array, self._device.compute, lambda x: 2 * x)
            self._device.compute.queue.append(out.numel)  # its own stream knows of it
        return out

    def finish(self, result: np.ndarray) -> np.ndarray:
        return result + 1


def test_stream_through_gives_the_whole(rng: np.random.Generator) -> None:
    device = LateDevice()
    whole = rng.uniform(0, 1, (23, 5, 31)).astype(np.float32)
    plan = plan_tiles(whole.shape, (12, 5, 14), (6, 0, 6), multiple=2)
    out, told = np.full(whole.shape, np.nan, np.float32), []

    def write(row: int, block: np.ndarray) -> None:
        out[row : row + len(block)] = block

    stream_through(
        Shuttle(device),  # type: ignore[arg-type]
        Doubled(device),
        plan,
        lambda tile: [np.array(cut(whole, tile))],
        write,
        lambda: told.append(1),
    )
    np.testing.assert_allclose(out, 2 * whole + 1, rtol=1e-6)
    assert len(told) == len(plan)


def test_arrays_are_free_once_sent(rng: np.random.Generator) -> None:
    """And the pinned buffers are kept for as long as a copy may read them, no longer."""
    device = LateDevice()
    shuttle = Shuttle(device)  # type: ignore[arg-type]
    array = rng.uniform(0, 1, (3, 4)).astype(np.float32)
    given = array.copy()
    sent = shuttle.send(given, given)
    given[:] = -1
    assert len(shuttle._read) == 2 and not sent.arrived.query()
    (first, second) = shuttle.take(sent)
    returned = shuttle.give(first + 0 * second)
    assert np.isnan(returned.host.numpy()).all()
    sent.arrived.synchronize()
    np.testing.assert_array_equal(first.numpy(), array)
    shuttle.send(given)
    assert len(shuttle._read) == 1


def test_one_tile_computes_at_a_time(rng: np.random.Generator) -> None:
    """The turn ends when the device has computed, not when it was told to."""
    device, states = LateDevice(), []
    counts = rng.uniform(0, 1, (4, 4)).astype(np.float32)

    class Turn:
        def __enter__(self) -> None:
            states.append(len(device.compute.queue))

        def __exit__(self, *_: object) -> None:
            states.append(len(device.compute.queue))

    tile = next(iter(plan_tiles((4, 4), 4, 0)))
    shuttle, stages = Shuttle(device), Doubled(device)  # type: ignore[arg-type]
    result = restore_on_device(shuttle, stages, tile, [counts], Turn())  # type: ignore[arg-type]
    np.testing.assert_allclose(result, 2 * counts + 1, rtol=1e-6)
    assert states == [0, 0]


def test_nothing_is_carried_to_the_cpu() -> None:
    assert shuttle_to("cpu") is None


def test_device_is_checked(rng: np.random.Generator) -> None:
    image, psf = np.ones((4, 4), np.float32), np.ones((1, 1), np.float32)
    with pytest.raises(ValueError, match="device must be one of 'cpu', 'cuda', got 'tpu'"):
        tiling.richardson_lucy(image, psf, 2, device="tpu")


def test_stages_are_the_restorer(rng: np.random.Generator) -> None:
    """What a device would be given, computed here: the same as the restorer's own call."""
    from otfuse.functional.rl_tile import RichardsonLucyTile
    from otfuse.tiling import TiledLoop, plan_loop

    psf = np.ones((3, 3), np.float32) / 9
    plan = plan_loop((40, 40), psf, 3)
    restore = TiledLoop(plan, RichardsonLucyTile(psf, plan.grid, n_iters=3, mean=1.0), 5.0, 0.25)
    counts = rng.uniform(0, 6, (40, 40)).astype(np.float32)
    tile = next(iter(plan.tiles))
    (image,) = restore.prepare(tile, counts.copy())
    assert image.min() == -1
    staged = restore.finish(restore.compute(tile, [torch.from_numpy(image)]).numpy())
    np.testing.assert_array_equal(staged, restore(tile, counts))


@pytest.mark.cuda
def test_tiles_on_a_device(rng: np.random.Generator) -> None:
    image = rng.poisson(20, (24, 90, 70)).astype(np.uint16)
    psf = np.ones((3, 5, 5), np.float32) / 75
    options = {"acceleration": "shb", "grid": (32, 64, 64)}
    here = tiling.richardson_lucy(image, psf, 5, **options)
    there = tiling.richardson_lucy(image, psf, 5, device="cuda", **options)
    np.testing.assert_allclose(there, here, atol=1e-4 * here.max())
