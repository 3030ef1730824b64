# SPDX-License-Identifier: BSD-3-Clause
"""The command line's arguments: type, spelling and help of each, in the order of the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

_PSF, _OPTICS, _RUN, _OUT = "PSF", "Optics (micrometres)", "Restoration", "Output and resources"
_SAMPLE = "Sample (micrometres)"

Image = Annotated[
    str,
    Argument(metavar="IMAGE", help="TIFF, ImageJ or OME-TIFF; OME-Zarr in a folder or at a URL."),
]
Source = Annotated[
    str, Argument(metavar="IMAGE", help="TIFF, or OME-Zarr in a folder or at a URL.")
]
Missing = Annotated[
    Literal["error", "fill"],
    Option(help="What a chunk that an OME-Zarr lacks means: damage, or zeros."),
]
Output = Annotated[
    Path, Option("--output", "-o", metavar="OUT", help="The result: .tif, .ome.tif or .zarr.")
]
Axes = Annotated[str | None, Option(metavar="AXES", help="Axes of the image, such as TCZYX.")]

Psf = Annotated[
    list[Path] | None,
    Option(metavar="PSF.tif", help="One PSF; repeat for one per channel.", rich_help_panel=_PSF),
]
PsfCenter = Annotated[
    Literal["peak", "centroid", "none"],
    Option(help="What in the file is its centre.", rich_help_panel=_PSF),
]
PsfAxes = Annotated[
    str | None, Option(metavar="AXES", help="Axes of the PSF.", rich_help_panel=_PSF)
]

Na = Annotated[
    float | None, Option(metavar="NA", help="Numerical aperture.", rich_help_panel=_OPTICS)
]
Wavelength = Annotated[
    str | None,
    Option(metavar="W[,W...]", help="Emission, one or per channel.", rich_help_panel=_OPTICS),
]
ImmersionIndex = Annotated[
    float | None,
    Option(metavar="N", help="Index of the immersion medium.", rich_help_panel=_OPTICS),
]
Voxel = Annotated[str | None, Option(metavar="Z,Y,X", help="Voxel size.", rich_help_panel=_OPTICS)]
Modality = Annotated[
    Literal["widefield", "confocal", "spinningdisk", "twophoton", "lightsheet"] | None,
    Option(
        metavar="KIND",
        help="Kind of microscope: widefield, confocal, spinningdisk, twophoton or lightsheet; "
        "widefield if the file does not say.",
        rich_help_panel=_OPTICS,
    ),
]
ExcitationWavelength = Annotated[
    str | None,
    Option(
        metavar="W[,W...]",
        help="Laser; for confocal, spinningdisk, twophoton.",
        rich_help_panel=_OPTICS,
    ),
]
Pinhole = Annotated[
    str | None,
    Option(
        metavar="D[,D...]",
        help="Diameter at the specimen: as cut, over the magnification; "
        "for confocal, spinningdisk.",
        rich_help_panel=_OPTICS,
    ),
]
SheetThickness = Annotated[
    float | None,
    Option(
        metavar="T", help="Full width at half maximum; for lightsheet.", rich_help_panel=_OPTICS
    ),
]
Vectorial = Annotated[
    bool,
    Option("--vectorial", help="Model with polarisation.", rich_help_panel=_OPTICS),
]
SampleIndex = Annotated[
    float | None,
    Option(metavar="N", help="Index of the mounting medium.", rich_help_panel=_SAMPLE),
]
Depth = Annotated[
    float,
    Option(metavar="D", help="Depth below the coverslip, in that medium.", rich_help_panel=_SAMPLE),
]
Coverslip = Annotated[
    float | None,
    Option(
        metavar="T", help="Its thickness, if not the 170 of the design.", rich_help_panel=_SAMPLE
    ),
]

Iters = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Iterations: 30 (modelled stacks: widefield 50, confocal and two-photon 10), 2 with a "
        "back projector, at most 100 with --stop.",
        rich_help_panel=_RUN,
    ),
]
Acceleration = Annotated[
    Literal["shb", "biggs", "none"] | None,
    Option(
        metavar="NAME",
        help="With momentum, shb (unless told) or biggs, or plain, none.",
        rich_help_panel=_RUN,
    ),
]
BackProjector = Annotated[
    Literal["matched", "wiener-butterworth", "wiener", "butterworth", "gaussian"],
    Option(
        metavar="NAME",
        help="matched, or one that needs 1 to 3 iterations: wiener-butterworth, wiener, "
        "butterworth, gaussian.",
        rich_help_panel=_RUN,
    ),
]
Tv = Annotated[
    float,
    Option(
        metavar="LENGTH",
        help="Total variation, micrometres: 0.002 to 0.02 of a voxel.",
        rich_help_panel=_RUN,
    ),
]
Stop = Annotated[
    Literal["none", "idiv", "held-out", "gradient-consensus"] | None,
    Option(
        metavar="RULE",
        help="What ends the run: none, idiv, held-out or gradient-consensus; held-out where --gain "
        "and --offset are given, else none.",
        rich_help_panel=_RUN,
    ),
]
Gain = Annotated[
    str | None,
    Option(metavar="G[,G...]", help="Camera counts per photon.", rich_help_panel=_RUN),
]
Boundary = Annotated[
    Literal["extended", "reflect", "circular"],
    Option(
        metavar="KIND",
        help="What lies beyond the edges: extended, reflect or circular.",
        rich_help_panel=_RUN,
    ),
]
Background = Annotated[
    str,
    Option(metavar="auto|B[,B...]", help="Counts not of the object.", rich_help_panel=_RUN),
]
Offset = Annotated[
    str | None,
    Option(metavar="B[,B...]", help="Camera counts without light.", rich_help_panel=_RUN),
]
MaskSaturated = Annotated[bool, Option(help="Leave saturated voxels out.", rich_help_panel=_RUN)]
Negative = Annotated[
    Literal["error", "clip"], Option(help="What to do with voxels below 0.", rich_help_panel=_RUN)
]

Dtype = Annotated[
    Literal["float32", "uint16", "uint8"],
    Option(help="Integers are scaled, the factors stored.", rich_help_panel=_OUT),
]
Compression = Annotated[
    Literal["blosc-zstd", "blosc-lz4", "zstd", "gzip", "none"] | None,
    Option(
        metavar="CODEC",
        help="Of an OME-Zarr: blosc-zstd, blosc-lz4 (unless told), zstd, gzip or none.",
        rich_help_panel=_OUT,
    ),
]
Preview = Annotated[
    Path | None,
    Option(metavar="OUT.png", help="Picture of before and after.", rich_help_panel=_OUT),
]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace existing files.", rich_help_panel=_OUT)
]
Device = Annotated[
    str, Option(metavar="auto|cpu|cuda", help="Where to compute.", rich_help_panel=_OUT)
]
Threads = Annotated[
    int | None,
    Option(metavar="N", help="CPU threads; one per core unless told.", rich_help_panel=_OUT),
]
MaxMemory = Annotated[
    str | None,
    Option(metavar="8GB", help="3/4 of what is free unless told.", rich_help_panel=_OUT),
]
LocalCluster = Annotated[
    int | None,
    Option(
        metavar="N", help="Worker processes, for .zarr; each --max-memory.", rich_help_panel=_OUT
    ),
]
Scheduler = Annotated[
    str | None,
    Option(metavar="tcp://HOST:PORT", help="Dask scheduler, for .zarr.", rich_help_panel=_OUT),
]
