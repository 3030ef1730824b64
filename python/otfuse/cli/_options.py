# SPDX-License-Identifier: BSD-3-Clause
"""The options of `otfuse deconvolve`, and what can be checked of them without the image."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from otfuse.cli._device import CPU, Compute
from otfuse.cli._errors import UsageError
from otfuse.io.zarr_store import is_url, local_path, named_zarr

_ITERS, _ITERS_UNMATCHED, _MOST_UNMATCHED = 30, 2, 5
# Of stacks whose PSF is that of a model: haze from all planes takes long to go, a focused laser
# leaves little to do before noise is what is restored (bench/NOTES.md).
_ITERS_OF = {"widefield": 50, "confocal": 10, "twophoton": 10}
_ITERS_AT_MOST = 100  # where something else ends the run
_MOST_THREADS = 1024  # more than machines have cores; of some ten thousand the stacks do not fit

_MEMORY_UNITS = {
    "": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12,
    "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


@dataclass
class DeconvolveOptions:
    """Arguments of `otfuse deconvolve` as they were typed."""

    image: Path | str
    output: Path
    psf: list[Path] = field(default_factory=list)
    psf_center: str = "peak"
    psf_axes: str | None = None
    iters: int | None = None
    acceleration: str | None = None
    back_projector: str = "matched"
    tv: float = 0.0
    stop: str | None = None
    gain: str | None = None
    boundary: str = "extended"
    background: str = "auto"
    offset: str | None = None
    mask_saturated: bool = True
    negative: str = "error"
    axes: str | None = None
    na: float | None = None
    wavelength: str | None = None
    excitation_wavelength: str | None = None
    pinhole: str | None = None
    sheet_thickness: float | None = None
    vectorial: bool = False
    sample_index: float | None = None
    depth: float = 0.0
    coverslip: float | None = None
    immersion_index: float | None = None
    voxel: str | None = None
    modality: str | None = None
    device: str = "auto"
    threads: int | None = None
    max_memory: str | None = None
    dtype: str = "float32"
    compression: str | None = None
    overwrite: bool = False
    preview: Path | None = None
    local_cluster: int | None = None
    scheduler: str | None = None
    compute: Compute = CPU  # not typed: what `device` was found to be

    def check(self) -> None:
        """Refuse what is wrong whatever the image is."""
        check_method(self)
        check_threads("deconvolve", self.threads)
        if self.max_memory is not None:
            parse_memory(self.max_memory)
        if self.preview is not None and self.preview.suffix.lower() != ".png":
            raise UsageError(f"deconvolve: --preview must end in .png, got {self.preview}")
        check_output("deconvolve", self.output)
        check_apart("deconvolve", self.output, self.image, *self.psf)
        check_of_zarr("deconvolve", self.output, {"--compression": self.compression})
        check_workers("deconvolve", self.output, self.local_cluster, self.scheduler)
        if self.background != "auto":
            parse_numbers(self.background, "--background")
            if self.offset is not None and self.gain is None:
                raise UsageError(
                    "deconvolve: --offset must go with --background auto or --gain, "
                    f"got --background {self.background} too; give one of them"
                )

    @property
    def momentum(self) -> str | None:
        """The acceleration, as the loop names it."""
        return None if self.acceleration == "none" else self.acceleration

    @property
    def projector(self) -> str | None:
        """The back projector, as the loop names it."""
        matched = self.back_projector == "matched"
        return None if matched else self.back_projector.replace("-", "_")

    @property
    def stop_rule(self) -> str | None:
        """The stop, as the loop names it."""
        return None if self.stop in (None, "none") else str(self.stop).replace("-", "_")

    def settled(self, model: str | None = None) -> DeconvolveOptions:
        """The same with the defaults that depend on other options filled in.

        `model` is the modality of the PSF's model, where one makes that of a stack.
        """
        unmatched = self.back_projector != "matched"
        known = self.gain is not None and self.offset is not None
        stop = self.stop or ("held-out" if known and not unmatched else "none")
        plain = unmatched or stop == "gradient-consensus"
        iters = _ITERS_OF.get(model or "", _ITERS) if stop == "none" else _ITERS_AT_MOST
        iters = _ITERS_UNMATCHED if unmatched else iters
        return replace(
            self,
            stop=stop,
            acceleration=self.acceleration or ("none" if plain else "shb"),
            iters=iters if self.iters is None else self.iters,
        )


def located(image: str) -> Path | str:
    """A path, or the URL that it was typed as."""
    return image if is_url(image) else Path(image)


def check_threads(command: str, n: int | None) -> None:
    """Refuse numbers of threads with which nothing computes, or the process ends."""
    if n is not None and not 1 <= n <= _MOST_THREADS:
        rule = "at least 1" if n < 1 else f"at most {_MOST_THREADS}"
        raise UsageError(f"{command}: --threads must be {rule}, got {n}")


def check_output(command: str, output: Path | str, argument: str = "--output") -> None:
    """Refuse a name that tells no format."""
    if not re.search(r"\.(tiff?|tf8|tf2|btf|zarr)/?$", str(output).lower()):
        raise UsageError(
            f"{command}: {argument} must end in .tif, .tiff, .ome.tif or .zarr, got {output}"
        )


def check_apart(
    command: str, output: Path | str, *sources: Path | str, argument: str = "--output"
) -> None:
    """Refuse to write where something to be read lies: it would be replaced, or removed."""
    there = local_path(output)
    for source in sources:
        here = local_path(source)
        if here is None or there is None:
            continue
        a, b = Path(os.path.realpath(here)), Path(os.path.realpath(there))
        if a == b or a in b.parents or b in a.parents:
            raise UsageError(
                f"{command}: {argument} must lie apart from what is read, got {output} for "
                f"{source}; choose another name"
            )


def as_typed(options: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """Options by name, without some and what was found out since they were typed."""
    return {k: v for k, v in asdict(options).items() if k != "compute" and k not in without}


def check_of_zarr(
    command: str,
    output: Path | str,
    options: Mapping[str, str | None],
    argument: str = "--output",
) -> None:
    """Refuse what only an OME-Zarr has."""
    for option, value in options.items():
        if value is not None and not named_zarr(output):
            raise UsageError(
                f"{command}: {argument} must end in .zarr with {option} {value}, got {output}"
            )


def check_workers(
    command: str, output: Path, local_cluster: int | None, scheduler: str | None
) -> None:
    """Refuse workers that cannot be had."""
    if local_cluster is None and scheduler is None:
        return
    if output.suffix.lower() != ".zarr":
        raise UsageError(
            f"{command}: --output must end in .zarr with --local-cluster or --scheduler, got "
            f"{output}"
        )
    if local_cluster is not None and scheduler is not None:
        raise UsageError(f"{command}: --scheduler must be left away with --local-cluster")
    if local_cluster is not None and local_cluster < 1:
        raise UsageError(f"{command}: --local-cluster must be at least 1, got {local_cluster}")


def check_method(options: DeconvolveOptions) -> None:
    """Refuse iterations that do not go together."""
    iters, stop = options.iters, options.stop
    accelerated = options.acceleration not in (None, "none")
    if iters is not None and iters < 1:
        raise UsageError(f"deconvolve: --iters must be at least 1, got {iters}")
    if not (math.isfinite(options.tv) and options.tv >= 0):
        raise UsageError(f"deconvolve: --tv must be a length of 0 or more, got {options.tv:g}")
    if options.gain is not None and min(parse_numbers(options.gain, "--gain")) <= 0:
        raise UsageError(f"deconvolve: --gain must be positive, got {options.gain}")
    if options.back_projector != "matched":
        rule = f"with --back-projector {options.back_projector}, got"
        if accelerated:
            raise UsageError(
                f"deconvolve: --acceleration must be none {rule} {options.acceleration}"
            )
        if stop not in (None, "none"):
            raise UsageError(f"deconvolve: --stop must be none {rule} {stop}")
        if iters is not None and iters > _MOST_UNMATCHED:
            raise UsageError(
                f"deconvolve: --iters must be at most {_MOST_UNMATCHED} {rule} {iters}"
            )
    if stop in ("held-out", "gradient-consensus") and (
        options.gain is None or options.offset is None
    ):
        raise UsageError(
            f"deconvolve: --stop {stop} must go with the camera's --gain and --offset, got "
            f"{'no --gain' if options.gain is None else 'no --offset'}; it splits photons"
        )
    if stop == "gradient-consensus" and (accelerated or options.tv > 0):
        raise UsageError(
            "deconvolve: --stop gradient-consensus must go with plain iterations, got "
            f"--acceleration {options.acceleration or 'none'} --tv {options.tv:g}"
        )


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Numbers separated by commas, finite and not negative.

    Parameters
    ----------
    text : str
        `0.461` or `0.461,0.520`.
    option : str
        Named in the error.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise UsageError(
            f"deconvolve: {option} must be a number of 0 or more, or several separated by commas, "
            f"got {text!r}"
        )
    return values


def per_channel(text: str, option: str, n_channels: int) -> tuple[float, ...]:
    """One value for all channels or one for each, as one for each."""
    values = parse_numbers(text, option)
    if len(values) not in (1, n_channels):
        raise UsageError(
            f"deconvolve: {option} must have one value or one per channel, "
            f"got {len(values)} for {n_channels} channels"
        )
    return values * n_channels if len(values) == 1 else values


def parse_memory(text: str, command: str = "deconvolve") -> int:
    """Bytes in `8GB`, `500 MB`, `2GiB`."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*", text)
    unit = _MEMORY_UNITS.get(found.group(2).lower()) if found else None
    try:
        value = float(found.group(1)) if found else 0.0
    except ValueError:
        value = 0.0
    if unit is None or value <= 0:
        raise UsageError(f"{command}: --max-memory must be a size such as 8GB, got {text!r}")
    return int(value * unit)
