# SPDX-License-Identifier: BSD-3-Clause
"""Results stored as integers: a factor per channel puts its highest value at the full scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DTYPES = ("uint16", "uint8")


def check_storable(function: str, lowest: float, highest: Sequence[float], dtype: str) -> None:
    """Refuse values that no factor makes integers.

    Raises
    ------
    ValueError  if one is negative or not finite.
    """
    finite = np.isfinite([lowest, *highest]).all()
    if not finite or lowest < 0:
        got = f"lowest value {lowest:g}" if finite else "got NaN or infinity"
        raise ValueError(
            f"{function}: data must be finite and not negative for {dtype}, {got}; write float32"
        )


def factors_of(highest: Sequence[float], dtype: str) -> tuple[float, ...]:
    """What each channel is multiplied by; 1 where it is all 0."""
    full = float(np.iinfo(dtype).max)
    return tuple(full / top if top > 0 else 1.0 for top in highest)


def to_integers(values: np.ndarray, factor: float | np.ndarray, dtype: str) -> np.ndarray:
    """`round(factor * value)`, from 0 on."""
    # The factor puts the maximum at full scale; the product may exceed it by an ulp.
    scaled = np.multiply(values, factor, dtype=np.float64)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, np.iinfo(dtype).max, out=scaled).astype(dtype)


def scale_record(labels: Sequence[str], dtype: str, factors: Sequence[float]) -> dict[str, Any]:
    """What a file says of its factors."""
    return {
        "dtype": dtype,
        "rule": "stored = round(factor * value), one factor per channel for all time points",
        "factors": [
            {"channel": label, "factor": factor}
            for label, factor in zip(labels, factors, strict=True)
        ],
    }
