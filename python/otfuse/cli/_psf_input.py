# SPDX-License-Identifier: BSD-3-Clause
"""The PSFs of a job: read from files and made fit for the image, or modelled from the optics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otfuse.cli._errors import UsageError
from otfuse.cli._optics import JobOptics, require_model
from otfuse.cli._options import DeconvolveOptions
from otfuse.cli._psf_model import make_psf, model_shape
from otfuse.cli._report import Report, by_extents
from otfuse.io.stack import Stack, Voxel

if TYPE_CHECKING:
    from torch import Tensor

_SAME_VOXEL, _WORTH_SAYING, _LOST_LIGHT = 0.01, 0.05, 0.01
_OTHER_UNIT = 100.0  # units differ by thousands, samplings by less than this


@dataclass
class PsfFile:
    """One PSF as it was read: the pixels, the voxel size, and a name for messages."""

    pixels: np.ndarray  # (kz, ky, kx) float32
    voxel: Voxel
    label: str


def prepare_psfs(
    options: DeconvolveOptions, stack: Stack, optics: JobOptics, report: Report
) -> list[np.ndarray]:
    """One PSF per channel, centred at k // 2, sum 1, on the image's voxels, 2-D for a 2-D image.

    Parameters
    ----------
    options : DeconvolveOptions
    stack : Stack
        The image.
    optics : JobOptics
    report : Report
        Told of all that is done to a PSF.
    """
    if not options.psf:
        return model_psfs(options, stack, optics, report)
    files = read_psfs(options, stack, report)
    fitted = [_fit(psf, options, stack, optics, report) for psf in files]
    return fitted * stack.data.shape[1] if len(fitted) == 1 else fitted


def read_psfs(options: DeconvolveOptions, stack: Stack, report: Report) -> list[PsfFile]:
    """Read the files of --psf: one PSF for all channels, or one for each."""
    psfs: list[PsfFile] = []
    for path in options.psf:
        psfs += _read_one(path, options, report)
    n_channels = stack.data.shape[1]
    if len(psfs) not in (1, n_channels):
        raise UsageError(
            f"deconvolve: --psf must give one PSF, or one per channel, got {len(psfs)} for "
            f"{n_channels} channel{'s' * (n_channels > 1)}; "
            "repeat --psf, or give a file with channels"
        )
    for psf in psfs:
        _check_rank(psf, stack)
    return psfs


def _read_one(path: Path, options: DeconvolveOptions, report: Report) -> list[PsfFile]:
    from otfuse.io import read_stack

    try:
        read = read_stack(path, axes=options.psf_axes)
    except ValueError as error:  # which says "image", and it is not that one
        text = str(error).replace("--axes (axes=)", "--psf-axes")
        raise UsageError(f"deconvolve: --psf must be a PSF, got {path} ({text})") from None
    nt, nc = read.data.shape[:2]
    if nt > 1:
        raise UsageError(
            f"deconvolve: --psf must not be a time series, got {nt} time points in {path}; "
            "if they are planes, give --psf-axes ZYX"
        )
    report.row("psf", f"{path.name}: {by_extents(read.spatial_shape)}, {read.data.dtype}")
    report.notes([note.replace("--axes", "--psf-axes") for note in read.notes])
    labels = [path.name if nc == 1 else f"{path.name} ({read.channel_label(c)})" for c in range(nc)]
    return [
        PsfFile(_positive(read.data[0, c], labels[c], report), read.voxel, labels[c])
        for c in range(nc)
    ]


def _positive(pixels: np.ndarray, label: str, report: Report) -> np.ndarray:
    """Clip what a measured PSF has below zero, and say how much it was."""
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise UsageError(f"deconvolve: --psf must be finite, got NaN or infinity in {label}")
    negative = values < 0
    if negative.any():
        share = float(-values[negative].sum() / np.abs(values).sum())
        report.notes(
            [f"{int(negative.sum())} negative voxels, {share:.2%} of the light, set to zero"]
        )
        values[negative] = 0
    if not values.any():
        raise UsageError(
            f"deconvolve: --psf must hold some light, got no positive value in {label}"
        )
    return values


def _check_rank(psf: PsfFile, stack: Stack) -> None:
    nt, _, nz = stack.data.shape[:3]
    planes = psf.pixels.shape[0]
    if nz > 1 and planes == 1:
        raise UsageError(
            f"deconvolve: --psf must be 3-D for a stack of {nz} planes, got 2-D {psf.label}; "
            "give a 3-D PSF, or --axes TYX to treat the planes as separate images"
        )
    if nz == 1 and planes > 1 and nt > 1:
        raise UsageError(
            f"deconvolve: --psf must be 2-D for a time series of {nt} images, got {planes} planes "
            f"in {psf.label}; if the time points are planes, give --axes ZYX, else a 2-D PSF"
        )


def _fit(
    psf: PsfFile, options: DeconvolveOptions, stack: Stack, optics: JobOptics, report: Report
) -> np.ndarray:
    """Slice, centre, resample, crop and normalise one PSF."""
    import torch

    from otfuse.psf import center, in_focus_slice

    pixels = torch.from_numpy(np.ascontiguousarray(psf.pixels))
    flat = stack.data.shape[2] == 1
    sizes: tuple[Any, ...] = (psf.voxel, optics.voxel)
    if flat and pixels.shape[0] > 1:
        report.notes(["the image is 2-D: the in-focus slice of the PSF is used"])
        pixels = in_focus_slice(pixels)
    elif flat:
        pixels = pixels[0]
    if flat:
        sizes = (psf.voxel[1:], optics.voxel[1:])
    pixels, shift = center(pixels, options.psf_center)
    moved = ", ".join(f"{step:+.2f}" for step in shift)
    if any(abs(step) >= _WORTH_SAYING for step in shift):
        axes = ", ".join("zyx"[3 - len(shift) :])
        report.notes([f"{options.psf_center} moved to the centre by {moved} voxels ({axes})"])
    pixels = _resampled(pixels, sizes[0], sizes[1], report)
    pixels = _cropped(pixels, stack.spatial_shape[-pixels.ndim :], options.boundary, report)
    return np.asarray((pixels / pixels.sum()).numpy(), dtype=np.float32)


def _resampled(
    pixels: Tensor, old: tuple[float | None, ...], new: tuple[float | None, ...], report: Report
) -> Tensor:
    if not any(old) or not all(new):
        told = "the PSF file tells no voxel size"
        if any(old):
            sizes = ", ".join("?" if size is None else f"{size:g}" for size in old)
            told = f"the image tells no voxel size, the PSF {sizes} µm"
        report.notes([f"{told}: PSF and image are taken to have the same"])
        return pixels
    # Where the file lacks one axis, that one is taken to agree.
    wanted = [size or 0.0 for size in new]
    known = [a or b for a, b in zip(old, wanted, strict=True)]
    if max(abs(a / b - 1) for a, b in zip(known, wanted, strict=True)) <= _SAME_VOXEL:
        return pixels
    before, after = (", ".join(f"{size:g}" for size in edges) for edges in (known, wanted))
    if max(max(a / b, b / a) for a, b in zip(known, wanted, strict=True)) > _OTHER_UNIT:
        raise UsageError(
            f"deconvolve: --psf must have voxels within a factor of {_OTHER_UNIT:g} of the image's "
            f"{after} µm, got {before} µm; mend the unit in its file, or give the image's --voxel"
        )
    from otfuse.psf import resample

    result: Tensor = resample(pixels, known, wanted)
    report.notes(
        [f"resampled from {before} to {after} µm: now {by_extents(tuple(result.shape))} voxels"]
    )
    return result


def _cropped(pixels: Tensor, image: tuple[int, ...], boundary: str, report: Report) -> Tensor:
    """Cut what cannot matter: laterally beyond the work volume, along z only if periodic."""
    if boundary == "circular":
        limits = image
    else:
        limits = tuple(2 * n - 1 for n in image)
        if pixels.ndim == 3:
            limits = (pixels.shape[0], *limits[1:])
    if all(k <= limit for k, limit in zip(pixels.shape, limits, strict=True)):
        return pixels
    from otfuse.psf import crop

    before = by_extents(tuple(pixels.shape))
    result, lost = crop(pixels, limits)
    told = (
        f"cropped from {before} to {by_extents(tuple(result.shape))}, {lost:.2%} of its light lost"
    )
    if lost > _LOST_LIGHT:
        report.warn(f"the PSF is larger than the work volume: {told}")
    else:
        report.notes([told])
    return result


def model_psfs(
    options: DeconvolveOptions, stack: Stack, optics: JobOptics, report: Report
) -> list[np.ndarray]:
    """Model one PSF per channel; channels of the same optics share one."""
    require_model(optics, stack)
    made: dict[tuple[Any, ...], np.ndarray] = {}
    psfs = []
    for channel in range(stack.data.shape[1]):
        key = tuple(optics.of_channel(channel).values())
        if key not in made:
            label = "psf" if not made else ""
            made[key] = _model(stack, optics, channel, options, report, label)
        psfs.append(made[key])
    return psfs


def _model(
    stack: Stack,
    optics: JobOptics,
    channel: int,
    options: DeconvolveOptions,
    report: Report,
    label: str,
) -> np.ndarray:
    dz, dy, dx = optics.voxel
    voxel = (dz or 1.0, dy or 0.0, dx or 0.0)  # a 2-D image needs no dz, and has one plane
    values = optics.of_channel(channel)
    shape = model_shape(optics.modality, stack.spatial_shape, voxel, values)
    psf, cautions = make_psf(optics.modality, shape, voxel, values)
    if stack.data.shape[2] == 1:
        psf = psf[0]
    named = f" for {stack.channel_label(channel)}" if stack.data.shape[1] > 1 else ""
    report.row(label, f"{optics.modality} model{named}: {by_extents(tuple(psf.shape))} voxels")
    for caution in cautions if label else ():
        report.warn(caution)
    psf = _cropped(psf, stack.spatial_shape[-psf.ndim :], options.boundary, report)
    return np.asarray((psf / psf.sum()).numpy(), dtype=np.float32)
