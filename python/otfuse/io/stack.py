# SPDX-License-Identifier: BSD-3-Clause
"""What a file holds: the pixels as (t, c, z, y, x), the voxel size, the optics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Voxel = tuple[float | None, float | None, float | None]


class Pixels(Protocol):
    """An array, or what is indexed like one and read where it lies."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # (nt, nc, nz, ny, nx)

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def size(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass
class Optics:
    """What a file says about the microscope; all lengths in micrometres at the specimen.

    `sources` names, for each field that was found, where in the file it was read.
    """

    na: float | None = None
    immersion_index: float | None = None
    sample_index: float | None = None
    magnification: float | None = None
    wavelengths: tuple[float | None, ...] = ()
    excitation_wavelengths: tuple[float | None, ...] = ()
    pinholes: tuple[float | None, ...] = ()
    modality: str | None = None
    sources: dict[str, str] = field(default_factory=dict)


@dataclass
class Stack:
    """Pixels and their meaning.

    Attributes
    ----------
    data : array, shape (nt, nc, nz, ny, nx)
        In the file's dtype; axes that the file lacks have extent 1. Of a `Volume` it stays in its
        file: each index is read anew.
    axes : str
        The file's axes as they were understood, slowest first, without those of extent 1.
    file_axes : str
        The axes as the file (or tifffile for it) names them, `QYX` or `IYX` where it does not.
    voxel : (dz, dy, dx)
        Micrometres; None for an axis of which the file does not tell.
    units : (str, str, str)
        The units in which the file wrote `voxel`; a result is written in the same ones.
    channel_names : tuple of str
        One per channel, or empty.
    kind : str
        `plain`, `imagej`, `ome` or `zarr`.
    notes : list of str
        What a user should know about how the file was understood, one sentence each.
    """

    data: Pixels
    axes: str
    file_axes: str
    voxel: Voxel = (None, None, None)
    units: tuple[str, str, str] = ("µm", "µm", "µm")
    channel_names: tuple[str, ...] = ()
    optics: Optics = field(default_factory=Optics)
    time_step: float | None = None
    description: str = ""
    kind: str = "plain"
    path: Path | None = None
    voxel_source: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """Extents (nz, ny, nx)."""
        nz, ny, nx = self.data.shape[2:]
        return nz, ny, nx

    @property
    def format(self) -> str:
        """The kind of file in words."""
        return f"{self.kind} TIFF"

    @property
    def has_names(self) -> bool:
        """Whether a channel has a name that tells more than its number."""
        return any(
            name not in ("", f"channel {i + 1}") for i, name in enumerate(self.channel_names)
        )

    def channel_label(self, channel: int) -> str:
        """Name of a channel, or its number from 1."""
        name = self.channel_names[channel] if channel < len(self.channel_names) else ""
        return name or f"channel {channel + 1}"
