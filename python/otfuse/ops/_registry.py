# SPDX-License-Identifier: BSD-3-Clause
"""How an operator is made known to torch: one library, one way.

`torch.library.custom_op` would do the same but imports the compiler at the first call, which
takes longer than many a job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

LIBRARY = torch.library.Library("otfuse", "DEF")

Body = Callable[..., Any]


def operator(name: str, schema: str, device: str = "CPU") -> Callable[[Body], Any]:
    """Define otfuse::name; the decorated function is its body for `device` and becomes the op.

    CompositeExplicitAutograd as the device serves every one.
    """

    def decorate(body: Body) -> Any:
        LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
        LIBRARY.impl(name, body, device)
        return getattr(torch.ops.otfuse, name).default

    return decorate


def implement(name: str, device: str) -> Callable[[Body], Body]:
    """The decorated function is otfuse::name on another device."""

    def decorate(body: Body) -> Body:
        LIBRARY.impl(name, body, device)
        return body

    return decorate


def register_fake(name: str) -> Callable[[Body], Body]:
    """The decorated function tells the shapes of otfuse::name's results."""
    return torch.library.register_fake(f"otfuse::{name}", lib=LIBRARY)


def register_autograd(name: str, backward: Body, setup_context: Body) -> None:
    """Register the derivative of otfuse::name."""
    torch.library.register_autograd(
        f"otfuse::{name}", backward, setup_context=setup_context, lib=LIBRARY
    )


def register_autocast_float32(name: str) -> None:
    """Let autocast hand otfuse::name float32; torch before 2.6 cannot."""
    if hasattr(torch.library, "register_autocast"):
        for device in ("cpu", "cuda"):
            torch.library.register_autocast(f"otfuse::{name}", device, torch.float32, lib=LIBRARY)


def register_vmap(name: str, rule: Body) -> None:
    """Register a batching rule of otfuse::name; torch before 2.5 cannot."""
    if hasattr(torch.library, "register_vmap"):
        torch.library.register_vmap(f"otfuse::{name}", rule, lib=LIBRARY)
