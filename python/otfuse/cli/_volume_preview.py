# SPDX-License-Identifier: BSD-3-Clause
"""Previews of volumes that are not held in memory: made smaller block by block."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from otfuse.cli._options import DeconvolveOptions
from otfuse.cli._report import Report
from otfuse.io import Volume, check_target, open_volume
from otfuse.io.pyramid import shrink

_MOST = 1 << 24  # voxels of what is drawn
_BLOCK = 128  # voxels along each edge that are read at once, at least


def preview_paths(options: DeconvolveOptions, n_channels: int) -> list[Path]:
    """One picture, or one per channel with its number in the name."""
    if options.preview is None:
        return []
    if n_channels == 1:
        return [options.preview]
    stem, suffix = options.preview.stem, options.preview.suffix
    return [options.preview.with_name(f"{stem}-c{c + 1}{suffix}") for c in range(n_channels)]


def check_previews(options: DeconvolveOptions, n_channels: int) -> None:
    """Refuse pictures that cannot be written, or that are there.

    Raises
    ------
    OSError
    """
    for path in preview_paths(options, n_channels):
        check_target(path, overwrite=options.overwrite)


def preview_title(options: DeconvolveOptions, stack: Any, channel: int) -> str:
    """What stands above the picture of a channel."""
    several = stack.data.shape[1] > 1
    return Path(options.image).name + (f", {stack.channel_label(channel)}" if several else "")


def write_volume_previews(
    options: DeconvolveOptions, source: Volume, voxel: Any, report: Report
) -> None:
    """Write pictures of the first time point, before and after, if they were asked for.

    Parameters
    ----------
    options : DeconvolveOptions
        Its output is complete.
    source : Volume
    voxel : (dz, dy, dx)
        Micrometres, or None.
    report : Report
    """
    from otfuse._preview import write_preview

    paths = preview_paths(options, source.shape[1])
    if not paths:
        return
    result = open_volume(options.output)
    factor = _factor(source.shape[2:])
    edges = [
        None if edge is None else edge * (factor if n > 1 else 1)
        for edge, n in zip(voxel, source.shape[2:], strict=True)
    ]
    for channel, path in enumerate(paths):
        before, after = (_small(volume, channel, factor) for volume in (source, result))
        title = preview_title(options, source, channel)
        write_preview(path, before, after, edges, title=title)
        report.row("preview" if channel == 0 else "", str(path))
    if factor > 1:
        report.notes([f"drawn {factor} times smaller"])


def _factor(shape: tuple[int, ...]) -> int:
    """The power of two that makes a volume small enough to be drawn."""
    factor = 1
    while prod(-(-n // factor) for n in shape) > _MOST:
        factor *= 2
    return factor


def _small(volume: Volume, channel: int, factor: int) -> np.ndarray:
    """The first time point of a channel, means of blocks of voxels."""
    shape, edge = volume.shape[2:], max(_BLOCK, factor)
    small = np.empty([-(-n // factor) for n in shape], np.float32)
    for start in product(*(range(0, n, edge) for n in shape)):
        cut = [slice(a, min(a + edge, n)) for a, n in zip(start, shape, strict=True)]
        block = volume.read_float32((0, channel, *cut))
        for _ in range(factor.bit_length() - 1):
            block = shrink(block, (2, 2, 2))
        place = zip(start, block.shape, strict=True)
        small[tuple(slice(a // factor, a // factor + n) for a, n in place)] = block
    return small
