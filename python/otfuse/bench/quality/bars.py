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
            _close(name, "shb's best", found["shb"]["best"], found, 0.1, _reaches(found), 1 / 3),
            _edges(name, one),
            _projector(name, found),
            _held_out(name, found),
        ]
    return rows


def _psnr(point: dict[str, Any]) -> float:
    return float(point["psnr"]["mean"])


def _at(method: dict[str, Any], value: float) -> float:
    """Return the seconds of one value of the knob."""
    return float(method["seconds"][method["values"].index(value)])


def _reaches(found: dict[str, Any]) -> float:
    """Return shb's time at its best over plain iterations' time at theirs."""
    shb, plain = found["shb"], found["rl"]
    return _at(shb, shb["best"]["value"]) / _at(plain, plain["best"]["value"])


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
