# SPDX-License-Identifier: BSD-3-Clause
"""The shared reference data and weights, which are no part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import SHARED


def shared_folder(name: str) -> Path:
    """Path of a file or folder of the shared data, or skip."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"shared data missing: {name}; set OTFUSE_SHARED to the folder")
    return path
