# SPDX-License-Identifier: BSD-3-Clause
"""Lengths and times in the units that microscopes write, converted to micrometres and seconds."""

from __future__ import annotations

import math

_SI_PREFIX = {
    "Y": 1e24, "Z": 1e21, "E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3,
    "h": 1e2, "da": 1e1, "": 1.0, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "n": 1e-9,
    "p": 1e-12, "f": 1e-15, "a": 1e-18, "z": 1e-21, "y": 1e-24,
}  # fmt: skip
_METRES = {prefix + "m": scale for prefix, scale in _SI_PREFIX.items()}
_METRES |= {
    "å": 1e-10, "angstrom": 1e-10, "thou": 2.54e-5, "mil": 2.54e-5, "li": 0.0254 / 12,
    "in": 0.0254, "inch": 0.0254, "inches": 0.0254, "ft": 0.3048, "yd": 0.9144, "mi": 1609.344,
    "ua": 149597870700.0, "ly": 9460730472580800.0, "pc": 3.0856775814913673e16, "pt": 0.0254 / 72,
    "micron": 1e-6, "microns": 1e-6,
}  # fmt: skip
_NAMED_PREFIX = {"milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12, "centi": 1e-2, "": 1.0}
_METRES |= {
    prefix + stem: scale
    for prefix, scale in _NAMED_PREFIX.items()
    for stem in ("meter", "metre", "meters", "metres")
}
_SECONDS = {prefix + "s": scale for prefix, scale in _SI_PREFIX.items()}
_SECONDS |= {prefix + "second": scale for prefix, scale in _NAMED_PREFIX.items()}
_SECONDS |= {
    "sec": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0,
    "d": 86400.0, "day": 86400.0,
}  # fmt: skip


def _spelled(unit: str) -> str:
    """Give the two micro signs, the ImageJ escape and the two Angstrom signs one spelling."""
    unit = unit.strip().replace("\\u00B5", "u").replace("\\u00b5", "u")
    return (
        unit.replace("\u00b5", "u").replace("\u03bc", "u").replace("\u212b", "å").replace("Å", "å")
    )


def _scale(unit: str, table: dict[str, float]) -> float | None:
    name = _spelled(unit)
    # Symbols are case sensitive (mm and Mm); words are not.
    found = table.get(name)
    return table.get(name.lower()) if found is None and len(name) > 2 else found


def micrometres_per(unit: str) -> float | None:
    """Micrometres in one `unit`; None where the unit has no physical length (`pixel`)."""
    metres = _scale(unit, _METRES)
    # The commonest ones exactly: 1e-6 / 1e-6 is 1, but 1e-9 / 1e-6 is not 1e-3.
    return None if metres is None else float(f"{metres * 1e6:.15g}")


def to_micrometres(value: float, unit: str) -> float | None:
    """Convert a length to micrometres.

    Parameters
    ----------
    value : float
        Length in `unit`.
    unit : str
        Any OME or ImageJ spelling: `µm`, `um`, `micron`, `nm`, `inch`, `reference frame`, ...

    Returns
    -------
    float or None
        None where the unit has no physical length or `value` is not a positive finite number.
    """
    scale = micrometres_per(unit)
    if scale is None or not math.isfinite(value) or value <= 0:
        return None
    return float(f"{value * scale:.12g}")


def to_seconds(value: float, unit: str) -> float | None:
    """Convert a time to seconds; None where the unit is unknown or the value not positive."""
    scale = _scale(unit, _SECONDS)
    return None if scale is None or not math.isfinite(value) or value <= 0 else value * scale
