# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse psf --from-beads`: the PSF that a stack of beads shows, as a TIFF and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otfuse.cli._errors import UsageError
from otfuse.cli._report import Report, by_extents
from otfuse.io import Stack, check_target, provenance, write_stack
from otfuse.io.stack import Voxel

if TYPE_CHECKING:
    from otfuse.psf import Resolution


def write_bead_psf(
    beads: Stack,
    output: Path,
    *,
    shape: Sequence[int] | None,
    voxel: Voxel | None,
    picture: Path | None,
    overwrite: bool,
) -> None:
    """Measure the PSF of a stack of beads, write it, show it, and say how many beads it is from.

    Parameters
    ----------
    beads : Stack
    output : Path
        The PSF's TIFF.
    shape : (z, y, x), optional
        Extents of the PSF.
    voxel : (dz, dy, dx), optional
        Micrometres; that of the stack if not given.
    picture : Path, optional
        The PNG.
    overwrite : bool
        Whether existing files may be replaced.
    """
    from otfuse.psf import from_beads, resolution

    if picture is not None:
        check_target(picture, overwrite=overwrite)
    pixels, report = _one_image(beads), Report()
    size = beads.voxel if voxel is None else voxel
    name = beads.path.name if beads.path else "beads"
    report.row("beads", f"{name}: {by_extents(pixels.shape)}, {pixels.dtype}")
    report.notes(beads.notes)
    wanted = None if shape is None else tuple(shape)[-pixels.ndim :]
    measured = from_beads(pixels, shape=wanted)
    report.row("used", str(measured))
    report.notes([f"background {measured.background:.4g} subtracted"])
    if len(measured.used) < 5:
        report.warn("few beads make a noisy PSF: a dozen or more that stand alone is better")
    known = all(edge is not None for edge in size[-pixels.ndim :])
    edges = [float(edge or 1.0) for edge in size[-pixels.ndim :]] if known else [1.0] * pixels.ndim
    psf = np.asarray(measured.psf, dtype=np.float32)
    sharp = resolution(psf, edges)
    report.row("resolution", _told(sharp, "µm" if known else "voxels"))
    written = write_stack(
        output,
        psf.reshape(1, 1, *[1] * (3 - psf.ndim), *psf.shape),
        voxel=size,
        provenance=provenance(
            psf=psf, command="psf", beads=name, used=measured.used, rejected=measured.rejected
        ),
        overwrite=overwrite,
    )
    centre = ", ".join(str(k // 2) for k in psf.shape)
    report.row(
        "psf", f"{written.path}: {by_extents(psf.shape)} voxels, sum 1, centre at ({centre})"
    )
    if picture is not None:
        from otfuse.cli._bead_picture import write_bead_picture

        unit = "µm" if known else "px"
        write_bead_picture(picture, pixels, measured, edges, unit, sharp, title=name)
        report.row("preview", str(picture))


def _one_image(stack: Stack) -> np.ndarray:
    """Return the pixels (z, y, x) or (y, x) of a stack without channels and time points."""
    nt, nc = stack.data.shape[:2]
    if nt > 1 or nc > 1:
        raise UsageError(
            f"psf: --from-beads must be one channel at one time, got {nc} channels and {nt} time "
            "points; write the one that is meant to a file of its own"
        )
    pixels = np.asarray(stack.data[0, 0])
    return pixels[0] if len(pixels) == 1 else pixels


def _told(sharp: Resolution, unit: str) -> str:
    axes = "zyx"[3 - len(sharp.fwhm) :]
    widths = ", ".join(f"{width:.3g}" for width in sharp.fwhm)
    return f"full width at half maximum {widths} {unit} ({', '.join(axes)})"
