# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse psf`: a PSF from the optics, as a TIFF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from otfuse.cli import _arguments as arg
from otfuse.cli._beads import write_bead_psf
from otfuse.cli._errors import UsageError
from otfuse.cli._memory import allowed_memory
from otfuse.cli._psf_model import (
    NEEDED,
    finest_voxel,
    make_psf,
    model_shape,
    sampling_warnings,
)
from otfuse.cli._report import Report, by_extents, in_bytes
from otfuse.io import Stack, check_target, provenance, read_stack, write_stack

if TYPE_CHECKING:
    from torch import Tensor

_MODEL_BYTES = 20  # for a voxel of a PSF that is made, 14 to 19 measured
_EXTENT, _OPTICS, _BEADS = "Extent", "Optics (micrometres)", "Measurement"
_OPTIONS = {
    "na": "--na",
    "wavelength": "--wavelength",
    "immersion_index": "--immersion-index",
    "excitation_wavelength": "--excitation-wavelength",
    "pinhole": "--pinhole",
    "sheet_thickness": "--sheet-thickness",
    "voxel": "--voxel",
}
Output = Annotated[Path, Option("--output", "-o", metavar="PSF.tif", help="The PSF.")]
Shape = Annotated[
    str | None, Option(metavar="Z,Y,X", help="Extents in voxels.", rich_help_panel=_EXTENT)
]
Image = Annotated[
    Path | None,
    Option(
        metavar="IMAGE",
        help="Take the extents that this image needs, and what it says of optics and voxel size.",
        rich_help_panel=_EXTENT,
    ),
]
Wavelength = Annotated[float | None, Option(metavar="W", help="Emission.", rich_help_panel=_OPTICS)]
ExcitationWavelength = Annotated[
    float | None,
    Option(
        metavar="W", help="Laser; for confocal, spinningdisk, twophoton.", rich_help_panel=_OPTICS
    ),
]
Pinhole = Annotated[
    float | None,
    Option(
        metavar="D",
        help="Diameter at the specimen; for confocal, spinningdisk.",
        rich_help_panel=_OPTICS,
    ),
]

FromBeads = Annotated[
    Path | None,
    Option(metavar="STACK", help="Measure the PSF in a stack of beads.", rich_help_panel=_BEADS),
]
Preview = Annotated[
    Path | None,
    Option(metavar="PSF.png", help="Picture of beads and PSF.", rich_help_panel=_BEADS),
]


@dataclass
class _Recipe:
    """What the PSF is made from; lengths in micrometres. None is not known yet."""

    modality: str | None = None
    na: float | None = None
    wavelength: float | None = None
    immersion_index: float | None = None
    excitation_wavelength: float | None = None
    pinhole: float | None = None
    sheet_thickness: float | None = None
    sample_index: float | None = None
    depth: float = 0.0
    coverslip: float | None = None
    vectorial: bool = False
    voxel: tuple[float | None, ...] = (None, None, None)
    sources: dict[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """Options that nobody gave and the model needs."""
        needed = ("na", "immersion_index", *NEEDED[self.modality or "widefield"])
        unknown = {name for name in needed if getattr(self, name) is None}
        absent = [option for name, option in _OPTIONS.items() if name in unknown]
        return absent if all(edge is not None for edge in self.voxel) else [*absent, "--voxel"]


def psf_command(
    output: Output,
    shape: Shape = None,
    image: Image = None,
    axes: arg.Axes = None,
    na: arg.Na = None,
    wavelength: Wavelength = None,
    immersion_index: arg.ImmersionIndex = None,
    voxel: arg.Voxel = None,
    modality: arg.Modality = None,
    excitation_wavelength: ExcitationWavelength = None,
    pinhole: Pinhole = None,
    sheet_thickness: arg.SheetThickness = None,
    vectorial: arg.Vectorial = False,
    sample_index: arg.SampleIndex = None,
    depth: arg.Depth = 0.0,
    coverslip: arg.Coverslip = None,
    from_beads: FromBeads = None,
    preview: Preview = None,
    overwrite: arg.Overwrite = False,
) -> None:
    """Write the PSF of a microscope, from its optics or from a stack of beads.

    Gibson-Lanni model, scalar or vectorial, or the mean of the beads that stand alone. The centre
    is at half the extents, rounded down, the sum is 1.
    """
    if output.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"psf: --output must end in .tif or .tiff, got {output}")
    check_target(output, overwrite=overwrite)
    if from_beads is not None:
        optics = (
            image, na, wavelength, immersion_index, modality, excitation_wavelength, pinhole,
            sheet_thickness, sample_index, coverslip,
        )  # fmt: skip
        if vectorial or depth or any(value is not None for value in optics):
            raise UsageError("psf: --from-beads must be given without --image and without optics")
        size = None if voxel is None else _triple("--voxel", voxel)
        extents = None if shape is None else _whole(shape)
        beads = read_stack(from_beads, axes=axes)
        write_bead_psf(
            beads, output, shape=extents, voxel=size, picture=preview, overwrite=overwrite
        )
        return
    if preview is not None:
        raise UsageError("psf: --preview must go with --from-beads, got it alone")
    if shape is None and image is None:
        raise UsageError("psf: --shape Z,Y,X or --image IMAGE must be given, got neither")
    recipe = _Recipe(
        modality, na, wavelength, immersion_index, excitation_wavelength, pinhole, sheet_thickness,
        sample_index, depth, coverslip, vectorial,
    )  # fmt: skip
    if voxel is not None:
        recipe.voxel = _triple("--voxel", voxel)
    stack = None if image is None else read_stack(image, axes=axes, mmap=True)
    _write_model(recipe, output, shape, stack, overwrite)


def _write_model(
    recipe: _Recipe, output: Path, shape: str | None, stack: Stack | None, overwrite: bool
) -> None:
    _complete(recipe, stack)
    extents = _extents(recipe, shape, stack)
    need, free = _MODEL_BYTES * prod(extents), allowed_memory(None)
    if need > free:
        raise UsageError(
            f"psf: memory must hold the model of {by_extents(extents)} voxels, which takes "
            f"{in_bytes(need)}, got {in_bytes(free)}; give a smaller --shape"
        )
    kind = recipe.modality or "widefield"
    psf, cautions = make_psf(kind, extents, _known(recipe.voxel), vars(recipe))
    report = Report()
    _report_recipe(recipe, report)
    for caution in (*cautions, *_sampling(recipe)):
        report.warn(caution)
    _write(output, psf, recipe, overwrite, report)


def _triple(option: str, text: str) -> tuple[float, float, float]:
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"psf: {option} must be three numbers separated by commas, Z,Y,X, got {text!r}"
        ) from None
    return z, y, x


def _whole(shape: str) -> tuple[int, ...]:
    extents = _triple("--shape", shape)
    if not all(n >= 1 and n.is_integer() for n in extents):
        raise UsageError(f"psf: --shape must be three whole numbers above 0, got {shape}")
    return tuple(int(n) for n in extents)


def _complete(recipe: _Recipe, stack: Stack | None) -> None:
    """Fill in what no option gave from the image's metadata; refuse to guess the rest."""
    if stack is not None:
        found = stack.optics
        for name in ("modality", "na", "immersion_index", "sample_index"):
            _fill(recipe, name, getattr(found, name), found.sources.get(name))
        for name in ("wavelength", "excitation_wavelength", "pinhole"):
            values = set(getattr(found, f"{name}s"))
            if getattr(recipe, name) is None and len(values) > 1:
                listed = ", ".join("unknown" if v is None else f"{v:g}" for v in values)
                raise UsageError(
                    f"psf: {_OPTIONS[name]} must say which of the image's channels is meant, "
                    f"got channels with {listed}"
                )
            _fill(recipe, name, next(iter(values), None), found.sources.get(f"{name}s"))
        if None in recipe.voxel:
            # One plane has no distance to the next, and its PSF needs none.
            dz = stack.voxel[0] or (1.0 if stack.spatial_shape[0] == 1 else None)
            recipe.voxel = (dz, *stack.voxel[1:])
            recipe.sources["voxel"] = stack.voxel_source
    if recipe.modality is None:
        recipe.modality, recipe.sources["modality"] = "widefield", "assumed"
    if recipe.modality not in NEEDED:
        raise UsageError(
            f"psf: --modality must be one of {', '.join(NEEDED)}, got {recipe.modality} "
            f"({recipe.sources.get('modality', '--modality')})"
        )
    if recipe.missing():
        raise UsageError(
            f"psf: the {recipe.modality} model must be given {', '.join(recipe.missing())}"
            + (", which the image does not tell" if stack is not None else "")
        )


def _fill(recipe: _Recipe, name: str, value: Any, source: str | None) -> None:
    if getattr(recipe, name) is None and value is not None:
        setattr(recipe, name, value)
        recipe.sources[name] = source or "the image"


def _extents(recipe: _Recipe, shape: str | None, stack: Stack | None) -> tuple[int, ...]:
    if shape is not None:
        return _whole(shape)
    assert stack is not None and recipe.modality is not None
    return model_shape(recipe.modality, stack.spatial_shape, _known(recipe.voxel), vars(recipe))


def _known(voxel: Sequence[float | None]) -> list[float]:
    return [edge for edge in voxel if edge is not None]


def _report_recipe(recipe: _Recipe, report: Report) -> None:
    lines = []
    for name, label, unit in (
        ("modality", "modality", ""),
        ("na", "NA", ""),
        ("immersion_index", "immersion index", ""),
        ("wavelength", "emission", " µm"),
        ("excitation_wavelength", "excitation", " µm"),
        ("pinhole", "pinhole", " µm at the specimen"),
        ("sheet_thickness", "sheet thickness", " µm"),
        ("sample_index", "sample index", ""),
        ("depth", "depth", " µm"),
        ("coverslip", "coverslip", " µm"),
    ):
        value = getattr(recipe, name)
        if value:
            shown = value if isinstance(value, str) else f"{value:g}"
            source = recipe.sources.get(name)
            lines.append(f"{label} {shown}{unit}" + (f" ({source})" if source else ""))
    if recipe.vectorial:
        lines.append("vectorial model")
    source = recipe.sources.get("voxel", "--voxel")
    report.row("optics", *lines)
    edges = ", ".join(f"{edge:g}" for edge in _known(recipe.voxel))
    report.row("voxel", f"{edges} µm (z, y, x; {source})")


def _sampling(recipe: _Recipe) -> list[str]:
    """Return a warning where the voxels are too large for the optics."""
    dz, dxy = finest_voxel(recipe.modality or "widefield", vars(recipe))
    return sampling_warnings(recipe.voxel, (dz, dxy, dxy))


def _write(output: Path, psf: Tensor, recipe: _Recipe, overwrite: bool, report: Report) -> None:
    pixels = psf.numpy()
    made_from = {
        part.name: getattr(recipe, part.name)
        for part in fields(recipe)
        if getattr(recipe, part.name) is not None
    }
    dz, dy, dx = recipe.voxel
    written = write_stack(
        output,
        pixels[None, None],
        voxel=(dz, dy, dx),
        provenance=provenance(psf=pixels, command="psf", optics=made_from),
        overwrite=overwrite,
    )
    centre = ", ".join(str(k // 2) for k in pixels.shape)
    report.row(
        "psf", f"{written.path}: {by_extents(pixels.shape)} voxels, sum 1, centre at ({centre})"
    )
