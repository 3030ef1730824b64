# SPDX-License-Identifier: BSD-3-Clause
"""Other packages' Richardson-Lucy, where installed, on the same arrays and threads."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

Peer = Callable[[int], Any]


def scikit_image(image: np.ndarray, psf: np.ndarray) -> Peer:
    """Return scikit-image's loop; scipy is told to use torch's number of threads."""
    import scipy.fft
    from skimage.restoration import richardson_lucy

    def run(n_iters: int) -> np.ndarray:
        with scipy.fft.set_workers(torch.get_num_threads()):
            return richardson_lucy(image, psf, num_iter=n_iters, clip=False)

    return run


def redlionfish(image: np.ndarray, psf: np.ndarray) -> Peer:
    """Return RedLionfish's loop on the processor."""
    import scipy.fft
    from RedLionfishDeconv import doRLDeconvolutionFromNpArrays

    def run(n_iters: int) -> np.ndarray:
        with scipy.fft.set_workers(torch.get_num_threads()):
            return doRLDeconvolutionFromNpArrays(image, psf, niter=n_iters, method="cpu")

    return run


def installed_peers(image: np.ndarray, psf: np.ndarray) -> dict[str, Peer]:
    """Return what can be called here: name -> function of the number of iterations."""
    peers: dict[str, Peer] = {}
    if find_spec("skimage") and find_spec("scipy"):
        peers["scikit-image"] = scikit_image(image, psf)
    if find_spec("RedLionfishDeconv") and image.ndim == 3:
        peers["RedLionfish"] = redlionfish(image, psf)
    return peers
