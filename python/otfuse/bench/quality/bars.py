# SPDX-License-Identifier: BSD-3-Clause
"""What the package promises of itself, measured: one line each, met or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Bar = dict[str, Any]


def bars(conditions: Sequence[dict[str, Any]]) -> list[Bar]:
    """Return the promises on the pollen and on the widefield images with exact optics."""
    rows = []
    for one in conditions:
        exact = one["optics"] == "exact" and one["modality"] in ("widefield", "as given")
        if not exact or "edges" not in one:
            continue
        found, name = one["methods"], one["name"]
        rows += [
            _momentum(name, found),
            _edges(name, one),
            _edges_beyond(name, one),
            _projector(name, found),
            _held_out(name, found),
        ]
    return rows


def _psnr(point: dict[str, Any]) -> float:
    return float(point["psnr"]["mean"])


def _at(method: dict[str, Any], value: float) -> float:
    """Return the seconds of one value of the knob."""
    return float(method["seconds"][method["values"].index(value)])


def _momentum(where: str, found: dict[str, Any]) -> Bar:
    """Return the bar on shb: when it first is where plain iterations are at their best."""
    shb, plain, allowed, decibels = found["shb"], found["rl"], 1 / 3, 0.1
    whole = _at(plain, plain["best"]["value"])
    gaps = [_psnr(plain["best"]) - _psnr(point) for point in shb["points"]]
    best = _psnr(shb["best"]) - _psnr(plain["best"])
    at_best = f"at its best {best:+.2f} dB in {_at(shb, shb['best']['value']) / whole:.2g}"
    near = [value for value, gap in zip(shb["values"], gaps, strict=True) if gap <= decibels]
    share = _at(shb, near[0]) / whole if near else float("inf")
    first = f"after {near[0]:g} iterations, {share:.2g} of its time" if near else "nowhere"
    return {
        "where": where,
        "what": "shb",
        "asked": f"within {decibels:g} dB of rl's best in {allowed:.2g} of its time",
        "measured": f"{first}; {at_best}",
        "met": share <= allowed,
    }


def _close(
    where: str,
    what: str,
    point: dict[str, Any],
    found: dict[str, Any],
    decibels: float,
    share: float,
    allowed: float,
) -> Bar:
    """Return a bar on how far below rl's best a point lies, and in what share of its time."""
    gap = _psnr(found["rl"]["best"]) - _psnr(point)
    return {
        "where": where,
        "what": what,
        "asked": f"within {decibels:g} dB of rl's best in {allowed:.2g} of its time",
        "measured": f"{-gap:+.2f} dB in {share:.2g} of its time",
        "met": gap <= decibels and share <= allowed,
    }


def _edges(where: str, one: dict[str, Any]) -> Bar:
    """Return the bar on edges: what the boundary alone does, against a larger field."""
    extended, circular = one["edges"]["extended"], one["edges"]["circular"]
    return {
        "where": where,
        "what": "edge energy, extended against circular",
        "asked": "ten times lower",
        "measured": f"{extended:.3g} against {circular:.3g} ({circular / extended:.1f} times)",
        "met": extended <= circular / 10,
    }


def _edges_beyond(where: str, one: dict[str, Any]) -> Bar:
    """Return the bar on edges against the truth: the error that a larger field would not make."""
    extended, circular = (one["edges"]["beyond"][name] for name in ("extended", "circular"))
    return {
        "where": where,
        "what": "edge energy against the truth beyond a larger field's, extended against circular",
        "asked": "ten times lower",
        "measured": f"{extended:+.3f} against {circular:+.3f}",
        "met": circular > 0 and extended <= circular / 10,
    }


def _projector(where: str, found: dict[str, Any]) -> Bar:
    projector = found["wiener_butterworth"]
    number = projector["default"]
    point = projector["points"][projector["values"].index(number)]
    plain = found["rl"]
    share = _at(projector, number) / _at(plain, plain["best"]["value"])
    return _close(where, "wiener_butterworth at its default", point, found, 0.3, share, 0.1)


def _held_out(where: str, found: dict[str, Any]) -> Bar:
    gap = _psnr(found["rl"]["best"]) - _psnr(found["rl"]["stops"]["held_out"])
    return {
        "where": where,
        "what": "rl stopped by held-out photons",
        "asked": "within 0.3 dB of the oracle's stop",
        "measured": f"{-gap:+.2f} dB",
        "met": gap <= 0.3,
    }
