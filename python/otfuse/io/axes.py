# SPDX-License-Identifier: BSD-3-Clause
"""What the axes of a file mean: labels are believed, and their absence is never passed over."""

from __future__ import annotations

import numpy as np

CANONICAL = "TCZYX"
_UNLABELLED = "QI"
_COLOUR_EXTENTS = (3, 4)


def interpret_axes(
    file_axes: str, shape: tuple[int, ...], override: str | None = None
) -> tuple[str, list[str]]:
    """Axes in terms of T, C, Z, Y, X, and sentences for the user about how they were found.

    Parameters
    ----------
    file_axes : str
        One letter per axis as tifffile reports them (`Q` and `I` are unlabelled, `S` is colour).
    shape : tuple of int
        Extents, in the same order.
    override : str, optional
        What the user says the axes are; letters of `TCZYX`, one per axis of more than one voxel.

    Returns
    -------
    axes : str
        One letter of `TCZYX` per axis of `shape`; `-` marks an axis of extent 1 to drop.
    notes : list of str

    Raises
    ------
    ValueError  if the axes are ambiguous, or cannot be deconvolved; the message names the way out.
    """
    if 0 in shape:
        raise ValueError(f"read_stack: image must not be empty, got extents {shape}")
    if override is not None:
        return _overridden(file_axes, shape, override)
    axes = "".join(
        # tifffile calls the first axis of a single voxel X, as the last one.
        "-" if extent == 1 and (letter not in "YX" or letter in file_axes[i + 1 :]) else letter
        for i, (letter, extent) in enumerate(zip(file_axes, shape, strict=True))
    )
    _refuse_colour(axes, file_axes, shape)
    unlabelled = [letter for letter in axes if letter in _UNLABELLED]
    if len(unlabelled) > 1 or (unlabelled and set(axes) & set("TCZ")):
        raise ValueError(
            f"read_stack: axes must be labelled, got {file_axes} with extents {_sizes(shape)}; "
            f"name them with --axes (axes=), for example {_example(axes)}"
        )
    strange = sorted(set(axes) - set(CANONICAL + _UNLABELLED + "-"))
    if strange or "Y" not in axes or "X" not in axes:
        raise ValueError(
            f"read_stack: axes must be among T, C, Z, Y and X, got {file_axes} with extents "
            f"{_sizes(shape)}; name them with --axes (axes=), for example {_example(axes)}"
        )
    if not unlabelled:
        return axes, []
    axes = axes.replace(unlabelled[0], "Z")
    note = (
        f"the file does not label its axes ({file_axes}): taken as {axes.replace('-', '')}, a "
        f"z-stack of {shape[axes.index('Z')]} planes; if they are not, give --axes"
    )
    return axes, [note]


def _refuse_colour(axes: str, file_axes: str, shape: tuple[int, ...]) -> None:
    if "S" in axes:
        extent = shape[axes.index("S")]
        as_channels, as_planes = _with_samples(axes, "C"), _with_samples(axes, "Z")
        raise ValueError(
            f"read_stack: image must be grey-scale, got an RGB axis S of {extent} samples "
            f"({file_axes}, {_sizes(shape)}); save it as separate channels, or say what the "
            f"samples are with --axes (axes=): {as_channels} for channels, {as_planes} for planes"
        )
    last_unlabelled = file_axes[-1:] == "X" and file_axes[:1] in _UNLABELLED and len(shape) == 3
    if last_unlabelled and shape[-1] in _COLOUR_EXTENTS and min(shape[:2]) > 4:
        raise ValueError(
            f"read_stack: the last axis must be x, got extents {_sizes(shape)} that look like "
            "colours (y, x, c); say what they are with --axes (axes=): YXC or ZYX"
        )


def _with_samples(axes: str, meaning: str) -> str:
    """An --axes in which the samples are `meaning`, and what that displaces is what is free."""
    free = (letter for letter in "ZTC" if letter != meaning and letter not in axes)
    displaced = {meaning, *_UNLABELLED}
    kept = (next(free, a) if a in displaced else a for a in axes.replace("-", ""))
    return "".join(kept).replace("S", meaning)


def _overridden(file_axes: str, shape: tuple[int, ...], override: str) -> tuple[str, list[str]]:
    wanted = override.strip().upper()
    if len(set(wanted)) != len(wanted) or not set(wanted) <= set(CANONICAL):
        raise ValueError(
            f"read_stack: axes must be different letters of {CANONICAL}, got {override!r}"
        )
    if not {"Y", "X"} <= set(wanted):
        raise ValueError(f"read_stack: axes must name Y and X, got {override!r}")
    longer = [i for i, extent in enumerate(shape) if extent > 1]
    if len(wanted) == len(shape):
        axes = wanted
    elif len(wanted) == len(longer):
        letters = iter(wanted)
        axes = "".join(next(letters) if i in longer else "-" for i in range(len(shape)))
    else:
        raise ValueError(
            f"read_stack: axes must name the {len(shape)} axes of the file, {file_axes} with "
            f"extents {_sizes(shape)}, got {override!r}"
        )
    if axes == file_axes:
        return axes, []
    return axes, [f"axes read as {axes.replace('-', '')} (--axes); the file says {file_axes}"]


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(str(extent) for extent in shape)


def _example(axes: str) -> str:
    """A plausible --axes for the axes of more than one voxel."""
    n = len(axes.replace("-", ""))
    return {2: "YX", 3: "ZYX", 4: "CZYX or TZYX", 5: "TCZYX"}.get(n, "TCZYX")


def to_tczyx(data: np.ndarray, axes: str) -> np.ndarray:
    """View of `data` with the axes (t, c, z, y, x); those it lacks have extent 1.

    Parameters
    ----------
    data : ndarray
    axes : str
        One letter of `TCZYX` per axis, `-` for an axis of extent 1 to drop.
    """
    drop = tuple(i for i, letter in enumerate(axes) if letter == "-")
    kept = axes.replace("-", "")
    view = data.reshape([n for i, n in enumerate(data.shape) if i not in drop])
    view = view.transpose([kept.index(letter) for letter in CANONICAL if letter in kept])
    missing = [i for i, letter in enumerate(CANONICAL) if letter not in kept]
    return np.expand_dims(view, tuple(missing))
