# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse demo`: a synthetic specimen blurred, made noisy and restored, with the numbers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from otfuse.cli._progress import Progress
from otfuse.cli._report import Report, by_extents, in_time
from otfuse.io import provenance, write_stack

if TYPE_CHECKING:
    from torch import Tensor

# A field of 8 x 16 x 16 micrometres under an oil objective, sampled at about Nyquist.
_SHAPE, _VOXEL = (40, 160, 160), (0.2, 0.1, 0.1)
_NA, _WAVELENGTH, _IMMERSION_INDEX = 1.3, 0.52, 1.515
# A usual live-cell exposure: noise that can be seen, and detail that can be won.
_PEAK_PHOTONS, _BACKGROUND = 200.0, 10.0
_SEED = 1

Output = Annotated[Path, Option("--output", "-o", metavar="FOLDER", help="Where the files go.")]
Iters = Annotated[int, Option(metavar="N", min=1, help="Richardson-Lucy iterations.")]


@dataclass(frozen=True)
class _Volumes:
    truth: Tensor
    psf: Tensor
    image: Tensor
    estimate: Tensor


def demo_command(output: Output = Path("demo"), iters: Iters = 30) -> None:
    """Blur a synthetic specimen, add noise, restore it, and show how much came back.

    The PSF that blurs is the one that restores. Writes truth, PSF, blurred and deconvolved image
    as TIFFs, and a picture; files of an earlier demo in the same folder are replaced.
    """
    started, report = time.monotonic(), Report()
    output.mkdir(parents=True, exist_ok=True)
    volumes = _run(iters, report)
    _print_table(volumes, report)
    names = _write(output, volumes, iters)
    report.row("files", *(str(output / name) for name in names))
    report.row("time", in_time(time.monotonic() - started))
    report.row(
        "next",
        f"otfuse deconvolve {output / 'blurred.tif'} -o {output / 'again.tif'} "
        f"--psf {output / 'psf.tif'} --background {_BACKGROUND:g}",
    )


def _run(iters: int, report: Report) -> _Volumes:
    import torch

    from otfuse import richardson_lucy
    from otfuse.psf import default_shape, widefield
    from otfuse.simulate import blur_and_noise, specimen

    field = ", ".join(f"{n * d:g}" for n, d in zip(_SHAPE, _VOXEL, strict=True))
    truth = specimen(_SHAPE, _SEED, voxel=_VOXEL)
    report.row(
        "specimen",
        f"filaments, shells and beads, {by_extents(_SHAPE)} voxels, {field} µm (z, y, x)",
    )
    lens: dict[str, Any] = {
        "na": _NA,
        "wavelength": _WAVELENGTH,
        "immersion_index": _IMMERSION_INDEX,
    }
    psf = widefield(default_shape(_SHAPE, _VOXEL, **lens), _VOXEL, **lens)
    report.row(
        "microscope",
        f"widefield, NA {_NA:g}, emission {_WAVELENGTH:g} µm, index {_IMMERSION_INDEX:g}; "
        f"PSF of {by_extents(tuple(psf.shape))} voxels",
    )
    image = blur_and_noise(truth, psf, _PEAK_PHOTONS, _BACKGROUND, _SEED)
    report.row(
        "image", f"{_PEAK_PHOTONS:g} photons at the brightest voxel, background {_BACKGROUND:g}"
    )
    with torch.no_grad(), Progress(1, iters) as progress:
        started = time.monotonic()
        estimate = richardson_lucy(
            image,
            psf,
            iters,
            background=_BACKGROUND,
            acceleration="shb",
            callback=progress.item("", image.numel()),
        )
    report.row("restored", f"{iters} iterations (shb) in {in_time(time.monotonic() - started)}")
    return _Volumes(truth, psf, image, estimate)


def _print_table(volumes: _Volumes, report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    from otfuse.metrics import correlation, psnr, ssim

    # The background is known here, and scaling by least squares takes care of the exposure.
    before = volumes.image - _BACKGROUND
    report.row("measured", "against the truth, scaled by least squares")
    table = Table()
    table.add_column("measure")
    for column in ("blurred", "deconvolved"):
        table.add_column(column, justify="right")
    for label, measure, form in (
        ("PSNR (dB)", psnr, "{:.1f}"),
        ("SSIM", ssim, "{:.3f}"),
        ("correlation", correlation, "{:.3f}"),
    ):
        values = (measure(volumes.truth, result) for result in (before, volumes.estimate))
        table.add_row(label, *(form.format(value) for value in values))
    Console(highlight=False).print(table)


def _write(output: Path, volumes: _Volumes, iters: int) -> list[str]:
    from otfuse._preview import write_preview

    record = provenance(
        psf=volumes.psf.numpy(),
        command="demo",
        iters=iters,
        acceleration="shb",
        background=_BACKGROUND,
        peak_photons=_PEAK_PHOTONS,
        seed=_SEED,
        na=_NA,
        wavelength=_WAVELENGTH,
        immersion_index=_IMMERSION_INDEX,
        voxel=_VOXEL,
    )
    files = {
        "truth.tif": volumes.truth,
        "psf.tif": volumes.psf,
        "blurred.tif": volumes.image,
        "deconvolved.tif": volumes.estimate,
    }
    for name, volume in files.items():
        pixels = volume.numpy()[None, None]
        write_stack(output / name, pixels, voxel=_VOXEL, provenance=record, overwrite=True)
    write_preview(
        output / "demo.png",
        volumes.image,
        volumes.estimate,
        _VOXEL,
        title=f"otfuse demo: {_PEAK_PHOTONS:g} photons, {iters} iterations",
        names=("blurred and noisy", "deconvolved"),
    )
    return [*files, "demo.png"]
