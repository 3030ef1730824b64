# SPDX-License-Identifier: BSD-3-Clause
"""Where a result came from: version, parameters, PSF digest and time, stored with every result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

_MARK = "otfuse provenance: "


def psf_digest(psfs: Sequence[np.ndarray]) -> str:
    """SHA-256 of the PSFs as they were used: float32, native order, shape included.

    Parameters
    ----------
    psfs : sequence of ndarray
        One PSF, or one per channel.
    """
    digest = hashlib.sha256()
    for psf in psfs:
        values = np.ascontiguousarray(psf, dtype="<f4")
        digest.update(repr(values.shape).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def provenance(
    *, psf: Sequence[np.ndarray] | np.ndarray | None = None, **parameters: Any
) -> dict[str, Any]:
    """Record of how a result is made.

    Parameters
    ----------
    psf : ndarray or sequence of ndarray, optional
        The PSFs as they were used; their digest and shapes are stored.
    **parameters
        Anything that JSON can hold.

    Returns
    -------
    dict with `software`, `version`, `time` (UTC, ISO 8601), `parameters` and, with a PSF,
    `psf_sha256` and `psf_shapes`.
    """
    from otfuse import __version__

    record: dict[str, Any] = {
        "software": "otfuse",
        "version": __version__,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "parameters": parameters,
    }
    if psf is not None:
        psfs = [psf] if isinstance(psf, np.ndarray) else list(psf)
        record["psf_sha256"] = psf_digest(psfs)
        record["psf_shapes"] = [list(array.shape) for array in psfs]
    return record


def describe(record: Mapping[str, Any], earlier: str = "") -> str:
    """Text for a TIFF description: the record on one line, above what the input's said."""
    line = _MARK + json.dumps(record, ensure_ascii=True, default=_plain)
    return f"{line}\n{earlier}" if earlier else line


def find_provenance(description: str) -> dict[str, Any] | None:
    """Newest provenance record in a description, or None."""
    found = re.search(re.escape(_MARK) + r"(\{.*\})", description)
    if found is None:
        return None
    try:
        record = json.loads(found.group(1))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
