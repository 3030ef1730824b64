# SPDX-License-Identifier: BSD-3-Clause
"""Other packages' Richardson-Lucy as methods: the same PSF, background and padding."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from ..peers import Peer, redlionfish, scikit_image
from .methods import Method, Observation, Run, padded

_ITERS = (10, 30)


def _of(make: Callable[..., Peer], name: str) -> Method:
    def run(seen: Observation, n_iters: float) -> Tensor:
        image, kernel, box = padded(seen)
        peer = make(image.numpy(), kernel.numpy())
        return torch.as_tensor(peer(int(n_iters))).float()[box]

    return Method(name, run, _ITERS, "iterations")


def _sdeconv() -> Run:
    from sdeconv.deconv import SRichardsonLucy

    def run(seen: Observation, n_iters: float) -> Tensor:
        image, kernel, box = padded(seen)
        return SRichardsonLucy(kernel, int(n_iters))(image)[box]

    return run


def installed_peers() -> tuple[Method, ...]:
    """Return what can be called here."""
    found = []
    if find_spec("skimage") and find_spec("scipy"):
        found.append(_of(scikit_image, "scikit-image"))
    if find_spec("RedLionfishDeconv"):
        found.append(_of(redlionfish, "RedLionfish"))
    if find_spec("sdeconv") and find_spec("torchvision"):
        found.append(Method("sdeconv", _sdeconv(), _ITERS, "iterations"))
    return tuple(found)
