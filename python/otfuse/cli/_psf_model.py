# SPDX-License-Identifier: BSD-3-Clause
"""A PSF model from the words of a command: which function it is, and which values it takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Kinds of microscope, and what the model of each has to know besides NA and immersion index.
NEEDED = {
    "widefield": ("wavelength",),
    "confocal": ("wavelength", "excitation_wavelength", "pinhole"),
    "spinningdisk": ("wavelength", "excitation_wavelength", "pinhole"),
    "twophoton": ("excitation_wavelength",),
    "lightsheet": ("wavelength", "sheet_thickness"),
}
_LAYERS = ("sample_index", "depth", "coverslip")


def make_psf(
    modality: str, shape: Sequence[int], voxel: Sequence[float], values: Mapping[str, Any]
) -> tuple[Tensor, list[str]]:
    """Return the PSF, and what its model warns of.

    Parameters
    ----------
    modality : str
        One of NEEDED.
    shape, voxel : (z, y, x)
    values : mapping
        Optics by name, lengths in micrometres, the pinhole's diameter too; those that the model
        has no use for are ignored.
    """
    import torch

    from otfuse import psf

    make: Any = {
        "widefield": psf.widefield,
        "confocal": psf.confocal,
        "spinningdisk": psf.spinning_disk,
        "twophoton": psf.two_photon,
        "lightsheet": psf.light_sheet,
    }[modality]
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        made: Tensor = make(
            shape, voxel, vectorial=bool(values.get("vectorial")), **_wanted(modality, values)
        )
    return made, [str(warning.message) for warning in caught]


def model_shape(
    modality: str, image: Sequence[int], voxel: Sequence[float], values: Mapping[str, Any]
) -> tuple[int, int, int]:
    """Return the extents that the PSF needs for an image; arguments as for `make_psf`."""
    from otfuse.psf import default_shape

    return default_shape(image, voxel, modality=modality, **_wanted(modality, values))


def finest_voxel(modality: str, values: Mapping[str, Any]) -> tuple[float, float]:
    """Return the coarsest (dz, dxy) that lose nothing; arguments as for `make_psf`."""
    from otfuse.psf import nyquist

    light = values[light_of_detail(modality)]
    return nyquist(values["na"], light, values["immersion_index"], modality)


def sampling_warnings(voxel: Sequence[float | None], limits: Sequence[float | None]) -> list[str]:
    """Return a warning where known edges (z, y, x) of a voxel exceed the coarsest that will do."""
    coarse: dict[str, tuple[float, float]] = {}
    for axis, size, limit in zip("zyx", voxel, limits, strict=True):
        if size is not None and limit is not None and size > 1.01 * limit:
            coarse[axis] = size, limit
    if "y" in coarse and coarse.get("y") == coarse.get("x"):
        coarse["xy"] = coarse.pop("y")
        del coarse["x"]
    told = "; ".join(f"{axis} {a:g} µm, needed {b:.3g}" for axis, (a, b) in coarse.items())
    lost = "finer detail is lost or aliased"
    return [f"sampling is coarser than Nyquist ({told}): {lost}"] if coarse else []


def light_of_detail(modality: str) -> str:
    """Return the name of the wavelength that the finest detail comes from."""
    focused = "excitation_wavelength" in NEEDED[modality]
    return "excitation_wavelength" if focused else "wavelength"


def _wanted(modality: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the model, the pinhole in Airy units."""
    from otfuse.psf import airy_unit

    names = ("na", "immersion_index", *NEEDED[modality], *_LAYERS)
    wanted = {name: values[name] for name in names if values.get(name) is not None}
    # An aperture or a wavelength that is not positive is for the model to refuse.
    if "pinhole" in wanted and wanted["na"] > 0 and wanted["wavelength"] > 0:
        wanted["pinhole"] /= float(airy_unit(wanted["na"], wanted["wavelength"]))
    return wanted
