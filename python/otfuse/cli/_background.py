# SPDX-License-Identifier: BSD-3-Clause
"""What the camera adds, per channel: the background level and the saturated voxels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from otfuse.cli._errors import UsageError
from otfuse.cli._options import DeconvolveOptions, per_channel
from otfuse.cli._report import Report, number
from otfuse.io.camera import Saturation, dark_levels, find_saturation, percentile
from otfuse.io.stack import Stack

_MUCH_SATURATED = 0.02


@dataclass
class ChannelLevels:
    """Background and saturation of one channel, the same for all of its time points."""

    background: float
    source: str
    saturation: Saturation | None
    n_negative: int = 0
    gain: float | None = None  # counts per photon
    offset: float | None = None  # counts without light: as told, or with an automatic background


def survey(options: DeconvolveOptions, stack: Stack) -> list[ChannelLevels]:
    """Look through every voxel once: refuse what cannot be deconvolved, find the levels.

    Parameters
    ----------
    options : DeconvolveOptions
    stack : Stack
        The image.

    Raises
    ------
    UsageError  if a voxel is not finite, or negative without `--negative clip`.
    """
    n_channels = stack.data.shape[1]
    given: tuple[float, ...] | None = None
    if options.background != "auto":
        given = per_channel(options.background, "--background", n_channels)
    gains, offsets = (
        (None,) * n_channels if text is None else per_channel(text, option, n_channels)
        for text, option in ((options.gain, "--gain"), (options.offset, "--offset"))
    )
    levels = []
    for channel in range(n_channels):
        volumes, label = stack.data[:, channel], stack.channel_label(channel)
        n_negative = _check_values(volumes, label, options.negative)
        offset = offsets[channel]
        if given is None:
            background, dark = dark_levels(_clipped(volumes, n_negative))
            offset = dark if offset is None else offset
            origin = f"auto: minimum of the smoothed image; {number(offset)} of it no light"
        else:
            background, origin = given[channel], "--background"
        saturation = find_saturation(volumes) if options.mask_saturated else None
        camera = gains[channel], offset
        levels.append(ChannelLevels(background, origin, saturation, n_negative, *camera))
    return levels


def _check_values(volumes: np.ndarray, label: str, negative: str) -> int:
    """Number of negative voxels."""
    if volumes.dtype.kind in "bu":
        return 0
    count, lowest = 0, 0.0
    for t, volume in enumerate(volumes):
        if volume.dtype.kind == "f" and not np.isfinite(volume).all():
            raise UsageError(
                f"deconvolve: image must be finite, got NaN or infinity in {label}, "
                f"time point {t + 1}; replace them first"
            )
        count += int(np.count_nonzero(volume < 0))
        lowest = min(lowest, float(volume.min()))
    if count and negative == "error":
        raise UsageError(
            f"deconvolve: image must not be negative, got {count} negative voxels in {label}, "
            f"lowest {lowest:.6g}; give --negative clip to set them to zero, or an image without "
            "its background subtracted"
        )
    return count


def _clipped(volumes: np.ndarray, n_negative: int) -> Iterator[np.ndarray]:
    return (np.maximum(volume, 0) if n_negative else volume for volume in volumes)


def report_levels(
    levels: list[ChannelLevels], options: DeconvolveOptions, stack: Stack, report: Report
) -> None:
    """Print background and saturation of each channel, and warn of much saturation."""
    many = len(levels) > 1
    for channel, level in enumerate(levels):
        name = f"{stack.channel_label(channel)}: " if many else ""
        report.row(
            "background" if channel == 0 else "",
            f"{name}{number(level.background)} ({level.source})",
        )
        if level.n_negative:
            report.notes([f"{name}{level.n_negative} negative voxels set to zero"])
    if options.mask_saturated:
        report.row("saturated", *_saturation_lines(levels, stack))
    for channel, level in enumerate(levels):
        share = _saturated_share(level, stack)
        if share > _MUCH_SATURATED:
            report.warn(
                f"{share:.1%} of the voxels{_of(stack, channel)} are saturated: what they held "
                "cannot be restored; if they are not, give --no-mask-saturated"
            )


def _saturation_lines(levels: list[ChannelLevels], stack: Stack) -> list[str]:
    lines = []
    for channel, level in enumerate(levels):
        if level.saturation is None:
            continue
        share = _saturated_share(level, stack)
        name = f"{stack.channel_label(channel)}: " if len(levels) > 1 else ""
        lines.append(
            f"{name}{level.saturation.count} voxels at {level.saturation.level:g} ({share:.2%}), "
            "masked"
        )
    return lines or ["none found"]


def _saturated_share(level: ChannelLevels, stack: Stack) -> float:
    """Of the voxels of a channel."""
    nt, _, *extents = stack.data.shape
    return 0.0 if level.saturation is None else level.saturation.count / (nt * prod(extents))


def _of(stack: Stack, channel: int) -> str:
    return f" of {stack.channel_label(channel)}" if stack.data.shape[1] > 1 else ""


def warn_of_levels(
    levels: list[ChannelLevels], options: DeconvolveOptions, stack: Stack, report: Report
) -> None:
    """Warn where a level that was typed lies above what half of the voxels hold.

    Noise alone takes voxels below a level that is right, but not most of them.
    """
    typed = [options.background != "auto", options.offset is not None]
    for channel, level in enumerate(levels if any(typed) else []):
        middle = percentile(stack.data[:, channel], 50)
        values = ("background", level.background), ("offset", level.offset or 0.0)
        for (name, value), told in zip(values, typed, strict=True):
            if told and value > middle:
                report.warn(
                    f"the {name}{_of(stack, channel)} ({number(value)}) lies above the median of "
                    f"the image ({number(middle)}): dim structures vanish; look at --{name}"
                )
