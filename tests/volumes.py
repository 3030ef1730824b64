# SPDX-License-Identifier: BSD-3-Clause
"""A small volume and how to write it as OME-Zarr."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from otfuse.io import Optics, Stack, create_volume

SHAPE = (2, 2, 5, 300, 40)
OPTICS = Optics(
    na=1.2,
    wavelengths=(0.5, 0.6),
    modality="lightsheet",
    sources={name: "a test" for name in ("na", "wavelengths", "modality")},
)
LIKE = Stack(
    np.empty((0, 0, 0, 0, 0)),
    "TCZYX",
    "TCZYX",
    voxel=(0.3, 0.1, 0.1),
    units=("µm", "µm", "nm"),
    channel_names=("DAPI", "GFP"),
    optics=OPTICS,
    time_step=2.5,
    description="from the microscope",
)


def numbers(shape: tuple[int, ...] = SHAPE, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(3).integers(0, 60000, shape).astype(dtype)


def fill(location: Any, data: np.ndarray, **options: Any) -> None:
    """Write all of it, block by block."""
    options = {"chunks": (1, 1, 4, 128, 16), "like": LIKE, **options}
    writer = create_volume(location, data.shape, data.dtype, **options)
    for where in blocks(writer):
        writer.write(where, data[where])
    writer.finish()


def blocks(writer: Any) -> Iterator[tuple[slice, ...]]:
    counts = [-(-n // u) for n, u in zip(writer.shape, writer.unit, strict=True)]
    for place in np.ndindex(*counts):
        yield tuple(
            slice(i * u, min((i + 1) * u, n))
            for i, u, n in zip(place, writer.unit, writer.shape, strict=True)
        )
