# SPDX-License-Identifier: BSD-3-Clause
"""Registrations that the oldest supported torch (2.4) lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def register_autocast_float32(name: str) -> None:
    """Let autocast hand `name` float32, whatever the region's type."""
    if hasattr(torch.library, "register_autocast"):
        for device in ("cpu", "cuda"):
            torch.library.register_autocast(name, device, torch.float32)


def register_vmap(name: str, rule: Callable[..., Any]) -> None:
    """Register a batching rule where torch knows them."""
    if hasattr(torch.library, "register_vmap"):
        torch.library.register_vmap(name, rule)
