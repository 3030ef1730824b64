# SPDX-License-Identifier: BSD-3-Clause
"""The optics of a job: what the options say, else what the file says, and which of them it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from otfuse.cli._errors import UsageError
from otfuse.cli._options import DeconvolveOptions, parse_numbers, per_channel
from otfuse.cli._psf_model import NEEDED, finest_voxel, light_of_detail, sampling_warnings
from otfuse.cli._report import Report
from otfuse.io.stack import Stack, Voxel

# Light beyond these is no fluorescence, and a voxel beyond them no microscope's.
_WAVELENGTHS, _VOXELS = (0.1, 5.0), (0.001, 50.0)
_OPTIONS = {
    "na": "--na",
    "wavelengths": "--wavelength",
    "immersion_index": "--immersion-index",
    "excitation_wavelengths": "--excitation-wavelength",
    "pinholes": "--pinhole",
    "sheet_thickness": "--sheet-thickness",
    "sample_index": "--sample-index",
    "depth": "--depth",
    "coverslip": "--coverslip",
    "voxel": "--voxel",
}
# The model's word for one channel's value, and where a job keeps it for all of them.
_PER_CHANNEL = {
    "wavelength": "wavelengths",
    "excitation_wavelength": "excitation_wavelengths",
    "pinhole": "pinholes",
}
_OF_ALL = (
    "na", "immersion_index", "sheet_thickness", "sample_index", "depth", "coverslip", "vectorial",
)  # fmt: skip
# What nothing but a model of the PSF asks for; with the others sampling is judged too.
_OF_MODEL = ("sample_index", "depth", "coverslip", "vectorial")
PerChannel = tuple[float | None, ...]


@dataclass
class JobOptics:
    """Optics and voxel size of a job, lengths in micrometres.

    `sources` says where each is from, `ignored`, by option, what the file says and cannot be.
    """

    na: float | None = None
    immersion_index: float | None = None
    sheet_thickness: float | None = None
    sample_index: float | None = None
    depth: float = 0.0
    coverslip: float | None = None
    vectorial: bool = False
    wavelengths: PerChannel = ()
    excitation_wavelengths: PerChannel = ()
    pinholes: PerChannel = ()
    modality: str = "widefield"
    voxel: Voxel = (None, None, None)
    sources: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    def missing(self, flat: bool) -> list[str]:
        """Options whose values a PSF model needs and nobody gave; `flat` needs no dz."""
        model = (_PER_CHANNEL.get(name, name) for name in NEEDED.get(self.modality, ()))
        needed = ("na", "immersion_index", *model)
        unknown = {name for name in needed if not _known(getattr(self, name))}
        if not _known(self.voxel[1:] if flat else self.voxel):
            unknown.add("voxel")
        return [option for name, option in _OPTIONS.items() if name in unknown]

    def of_channel(self, channel: int) -> dict[str, Any]:
        """The values of one channel by the names that the PSF models use."""
        values = {name: getattr(self, name) for name in _OF_ALL}
        for name, kept in _PER_CHANNEL.items():
            entries = getattr(self, kept)
            values[name] = entries[channel] if entries else None
        return values


def _known(value: float | Sequence[float | None] | None) -> bool:
    if isinstance(value, Sequence):
        return len(value) > 0 and all(entry is not None for entry in value)
    return value is not None


def choose_optics(options: DeconvolveOptions, stack: Stack) -> JobOptics:
    """Take each value from its option, else from the file.

    Parameters
    ----------
    options : DeconvolveOptions
    stack : Stack
        The image, with what its metadata say.

    Raises
    ------
    UsageError  if a typed value is impossible, or their number is not that of the channels.
    """
    chosen = JobOptics()
    n_channels = stack.data.shape[1]
    for name in ("na", "immersion_index", "sheet_thickness", "sample_index", "coverslip"):
        _choose(chosen, name, getattr(options, name), getattr(stack.optics, name, None), stack)
    chosen.depth, chosen.vectorial = options.depth, options.vectorial
    chosen.sources["depth"] = "--depth"
    for name, text in (
        ("wavelengths", options.wavelength),
        ("excitation_wavelengths", options.excitation_wavelength),
        ("pinholes", options.pinhole),
    ):
        typed = None if text is None else per_channel(text, _OPTIONS[name], n_channels)
        found = getattr(stack.optics, name)
        _choose(chosen, name, typed, found if len(found) == n_channels else (), stack)
    _choose_voxel(chosen, options, stack)
    _choose_modality(chosen, options, stack)
    _check(chosen)
    return chosen


def _choose(
    chosen: JobOptics,
    name: str,
    typed: float | tuple[float, ...] | None,
    found: float | PerChannel | None,
    stack: Stack,
) -> None:
    said = stack.optics.sources.get(name, "the file")
    if typed is not None:
        setattr(chosen, name, typed)
        differs = _known(found) and found != typed
        chosen.sources[name] = _OPTIONS[name] + (
            f"; {said} says {_values(found)}" if differs else ""
        )
    elif found:
        setattr(chosen, name, found)
        chosen.sources[name] = said


def _values(value: float | PerChannel | None) -> str:
    entries = value if isinstance(value, tuple) else (value,)
    return ", ".join("unknown" if entry is None else f"{entry:g}" for entry in entries)


def _choose_voxel(chosen: JobOptics, options: DeconvolveOptions, stack: Stack) -> None:
    if options.voxel is None:
        chosen.voxel = stack.voxel
        if any(stack.voxel):
            chosen.sources["voxel"] = stack.voxel_source
        return
    values = parse_numbers(options.voxel, "--voxel")
    flat = stack.data.shape[2] == 1
    if len(values) == 2 and flat:
        values = (stack.voxel[0] or 0.0, *values)
    if len(values) != 3:
        wanted = "Z,Y,X or Y,X" if flat else "Z,Y,X"
        raise UsageError(f"deconvolve: --voxel must be {wanted}, got {options.voxel!r}")
    _check_voxel(values, flat, options.voxel)
    dz, dy, dx = values
    chosen.voxel = (dz or None, dy, dx)
    chosen.sources["voxel"] = "--voxel"
    if any(stack.voxel) and any(
        old is not None and new is not None and abs(old - new) > 1e-3 * new
        for old, new in zip(stack.voxel, chosen.voxel, strict=True)
    ):
        chosen.sources["voxel"] += f"; {stack.voxel_source} says {_values(stack.voxel)}"


def _check_voxel(voxel: PerChannel, flat: bool, told: str) -> None:
    low, high = _VOXELS
    if not all(edge is None or low <= edge <= high for edge in (voxel[1:] if flat else voxel)):
        raise UsageError(
            f"deconvolve: --voxel must be in micrometres ({low:g} to {high:g}), got {told}"
        )


def _choose_modality(chosen: JobOptics, options: DeconvolveOptions, stack: Stack) -> None:
    found = stack.optics.modality
    if options.modality is not None:
        chosen.modality, chosen.sources["modality"] = options.modality, "--modality"
    elif found is not None:
        chosen.modality, chosen.sources["modality"] = found, stack.optics.sources["modality"]
    elif chosen.sheet_thickness is not None:
        chosen.modality, chosen.sources["modality"] = "lightsheet", "there is a sheet thickness"
    elif _known(chosen.pinholes):
        chosen.modality, chosen.sources["modality"] = "confocal", "there is a pinhole"
    else:
        chosen.sources["modality"] = "assumed: neither --modality nor the file says"


def _check(chosen: JobOptics) -> None:
    low, high = _WAVELENGTHS
    for name in ("wavelengths", "excitation_wavelengths"):
        wrong = [v for v in getattr(chosen, name) if v is not None and not low <= v <= high]
        if wrong:
            rule = f"{_OPTIONS[name]} must be in micrometres ({low:g} to {high:g})"
            _refuse(chosen, f"{rule}, got {wrong[0]:g} ({chosen.sources[name]})", name)
    for name in ("na", "immersion_index", "sheet_thickness", "sample_index", "coverslip"):
        value = getattr(chosen, name)
        if value is not None and not 0 < value < 1e6:
            raise UsageError(f"deconvolve: {_OPTIONS[name]} must be positive, got {value:g}")
    if not 0 <= chosen.depth < 1e6:
        raise UsageError(f"deconvolve: --depth must not be negative, got {chosen.depth:g}")
    if chosen.depth > 0 and chosen.sample_index is None:
        raise UsageError(
            f"deconvolve: --depth must come with --sample-index, got --depth {chosen.depth:g} alone"
        )
    if chosen.na and chosen.immersion_index and chosen.na > chosen.immersion_index:
        text = (
            f"--na must not exceed the immersion index {chosen.immersion_index:g} "
            f"({chosen.sources['immersion_index']}), got {chosen.na:g} ({chosen.sources['na']})"
        )
        _refuse(chosen, text, "na", "immersion_index")


def _refuse(chosen: JobOptics, text: str, *names: str) -> None:
    """Raise where one of the values was typed; forget them where all are the file's."""
    if any(chosen.sources[name].startswith("--") for name in names):
        raise UsageError(f"deconvolve: {text}")
    chosen.ignored[_OPTIONS[names[0]]] = text
    for name in names:
        setattr(chosen, name, getattr(JobOptics, name))  # its default
        del chosen.sources[name]


def require_model(chosen: JobOptics, stack: Stack) -> None:
    """Refuse to model a PSF of which something is unknown, naming the options that would say it."""
    flat = stack.data.shape[2] == 1
    _check_voxel(chosen.voxel, flat, f"{_values(chosen.voxel)} ({chosen.sources.get('voxel')})")
    if chosen.modality not in NEEDED:
        raise UsageError(
            f"deconvolve: --modality must be one of {', '.join(NEEDED)} for a PSF model, got "
            f"{chosen.modality} ({chosen.sources['modality']}); "
            "give --modality, or a PSF file with --psf"
        )
    missing = chosen.missing(flat)
    for option in missing:
        if option in chosen.ignored:
            raise UsageError(f"deconvolve: {chosen.ignored[option]}")
    if missing:
        hint = ""
        if "--pinhole" in missing and chosen.na and _known(chosen.wavelengths):
            units = (1.22 * (w or 0) / chosen.na for w in dict.fromkeys(chosen.wavelengths))
            hint = f" (one Airy unit is {', '.join(f'{unit:.3g}' for unit in units)} µm here)"
        raise UsageError(
            f"deconvolve: the {chosen.modality} PSF model must be given {_listed(missing)}{hint}, "
            f"which the file does not tell; give {'it' if len(missing) == 1 else 'them'}, "
            "or a PSF file with --psf"
        )


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def introduce(chosen: JobOptics, options: DeconvolveOptions, stack: Stack, report: Report) -> None:
    """Print what the PSF comes from.

    Raises
    ------
    UsageError  if it is to be modelled and something is unknown.
    """
    report_voxel(chosen, report)
    if not options.psf:
        require_model(chosen, stack)
        report_optics(chosen, stack, report)
        return
    typed = [f"--{name.replace('_', '-')}" for name in _OF_MODEL if getattr(options, name)]
    if typed:
        report.warn(f"{_listed(typed)} changed nothing: the PSF is that of --psf")


def report_voxel(chosen: JobOptics, report: Report) -> None:
    """Print the voxel size and where it is from, and what of the file's optics cannot be."""
    text = "unknown: the file does not say, --voxel Z,Y,X would"
    if any(chosen.voxel):
        text = f"{_values(chosen.voxel)} µm (z, y, x; {chosen.sources['voxel']})"
    report.row("voxel", text)
    report.notes([f"{rule}: ignored" for rule in chosen.ignored.values()])


def report_optics(chosen: JobOptics, stack: Stack, report: Report) -> None:
    """Print what is known of the optics, a line each, with where it is from."""
    lines = []
    for name, label, unit in (
        ("na", "NA", ""),
        ("immersion_index", "immersion index", ""),
        ("wavelengths", "emission", " µm"),
        ("excitation_wavelengths", "excitation", " µm"),
        ("pinholes", "pinhole", " µm at the specimen"),
        ("sheet_thickness", "sheet thickness", " µm"),
        ("sample_index", "sample index", ""),
        ("depth", "depth", " µm"),
        ("coverslip", "coverslip", " µm"),
    ):
        value = getattr(chosen, name)
        if value:
            lines.append(f"{label} {_per_channel(value, stack)}{unit} ({chosen.sources[name]})")
    model = ", vectorial model" if chosen.vectorial else ""
    lines.append(f"modality {chosen.modality} ({chosen.sources['modality']}){model}")
    report.row("optics", *lines)


def _per_channel(value: float | PerChannel, stack: Stack) -> str:
    if not isinstance(value, tuple) or len(set(value)) == 1:
        return _values(value[:1] if isinstance(value, tuple) else value)
    named = (f"{_values(entry)} ({stack.channel_label(c)})" for c, entry in enumerate(value))
    return ", ".join(named)


def warn_of_sampling(chosen: JobOptics, stack: Stack, report: Report) -> None:
    """Warn where voxels are larger than the optics allow; silent where too little is known."""
    if chosen.na is None or chosen.immersion_index is None or chosen.modality not in NEEDED:
        return
    channels = [chosen.of_channel(c) for c in range(stack.data.shape[1])]
    light = light_of_detail(chosen.modality)
    known = [values for values in channels if values[light] is not None]
    if not known:
        return
    dz, dxy = finest_voxel(chosen.modality, min(known, key=lambda values: values[light]))
    limits = (dz if stack.data.shape[2] > 1 else None, dxy, dxy)
    for caution in sampling_warnings(chosen.voxel, limits):
        report.warn(caution)
