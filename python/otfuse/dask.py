# SPDX-License-Identifier: BSD-3-Clause
"""Richardson-Lucy on Dask arrays: lazy, in any graph, on one machine or many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from otfuse import _checks
from otfuse.functional import next_fast_shape
from otfuse.functional._arrays import to_tensor
from otfuse.functional.rl_tile import RichardsonLucyTile
from otfuse.tiling.reach import psf_halo

_NAME = "dask.richardson_lucy"


def richardson_lucy(
    image: Any,
    psf: Any,
    n_iters: int = 30,
    *,
    background: float = 0.0,
    acceleration: str | None = None,
    back_projector: str | None = None,
    tv: float = 0.0,
    voxel: Sequence[float] | None = None,
    saturation: float | None = None,
) -> Any:
    """`otfuse.richardson_lucy` of a Dask array, chunk by chunk, nothing computed yet.

    Each chunk is restored with as much of its neighbours as the PSF lets matter (`psf_halo`), which
    is then cut off; all start from the mean of their whole image, which is the one thing that a
    chunk needs from all others. The PSF is one key of the graph: a worker gets it once.

    Parameters
    ----------
    image : dask array, shape (..., nz, ny, nx)
        Observed counts, background included; negative ones count as 0. Chunks that are shorter
        than the overlap are joined with their neighbours.
    psf : array, shape (kz, ky, kx) or (ky, kx)
        As for `otfuse.richardson_lucy`. Along an axis on which its light does not decay, as along
        z in widefield, the image must have one chunk.
    n_iters, background, acceleration, back_projector, tv, voxel
        As for `otfuse.richardson_lucy`; a number and a name, not arrays.
    saturation : float, optional
        Voxels at or above it are left out.

    Returns
    -------
    dask array, float32, shape of `image`

    Raises
    ------
    ValueError  if the psf is negative or zero, an option unknown, or the chunks do not fit it.
    TypeError  if the image is no Dask array.
    RuntimeError  if dask is not installed.
    """
    try:
        import dask.array as da
        from dask.delayed import delayed
    except ImportError:
        raise RuntimeError(
            f"{_NAME}: the package dask must be installed, got none; pip install 'otfuse[cluster]'"
        ) from None
    if not isinstance(image, da.Array):
        raise TypeError(
            f"{_NAME}: image must be a dask array, got {type(image).__name__}; use "
            "otfuse.richardson_lucy, or dask.array.from_array"
        )
    kernel = to_tensor(_NAME, "psf", psf).detach().cpu().to(torch.float32)
    _checks.light_psf(_NAME, kernel, kernel.ndim)
    options: dict[str, Any] = {
        "background": background,
        "acceleration": acceleration,
        "back_projector": back_projector,
        "tv": tv,
        "voxel": voxel,
    }
    # Wrong options are told now and not by a worker.
    RichardsonLucyTile(kernel, kernel.shape, n_iters=n_iters, mean=1.0, **options)
    matched = back_projector in (None, "matched")
    halo = psf_halo(kernel, n_iters, acceleration=acceleration, matched=matched)
    image, depth = _joined(image, halo)
    axes = tuple(range(image.ndim - kernel.ndim, image.ndim))
    light = da.map_blocks(_light, image, saturation, dtype=np.float64, meta=_like(image, float))
    seen = da.map_blocks(_seen, image, saturation, dtype=np.float64, meta=_like(image, float))
    mean = light.sum(axes, keepdims=True) / da.maximum(seen.sum(axes, keepdims=True), 1)
    padded = da.overlap.overlap(image, depth, boundary="none")
    restored = da.map_blocks(
        partial(_restore_block, n_iters=n_iters, saturation=saturation, options=options),
        padded,
        mean,
        psf=delayed(np.asarray(kernel), pure=True),
        dtype=np.float32,
        meta=_like(image, np.float32),
    )
    return da.overlap.trim_internal(restored, depth, boundary="none")


def _joined(image: Any, halo: Sequence[int | None]) -> tuple[Any, dict[int, int]]:
    """The image, of one chunk where halos reach past it, and what a chunk needs of its neighbours
    along each axis.
    """
    if image.ndim < len(halo):
        raise ValueError(
            f"{_NAME}: image must have at least the {len(halo)} axes of the psf, got {image.shape}"
        )
    first, depth = image.ndim - len(halo), dict.fromkeys(range(image.ndim), 0)
    for axis, n in enumerate(halo, first):
        if image.numblocks[axis] == 1:
            continue
        if n is None:
            raise ValueError(
                f"{_NAME}: image must have one chunk along axis {axis}, where the psf's light "
                f"does not decay, got {image.numblocks[axis]}; image.rechunk({{{axis}: -1}})"
            )
        if n < image.shape[axis]:
            depth[axis] = n
        else:
            image = image.rechunk({axis: -1})
    return image, depth


def _like(image: Any, dtype: Any) -> np.ndarray:
    return np.empty((0,) * image.ndim, dtype)


def _light(block: np.ndarray, saturation: float | None) -> np.ndarray:
    """What each voxel adds to the sum of light."""
    values = np.maximum(block, 0).astype(np.float64)
    return values if saturation is None else np.where(block < saturation, values, 0.0)


def _seen(block: np.ndarray, saturation: float | None) -> np.ndarray:
    """1 where a voxel counts."""
    return np.ones(block.shape) if saturation is None else (block < saturation).astype(np.float64)


def _restore_block(
    block: np.ndarray,
    mean: np.ndarray,
    *,
    psf: np.ndarray,
    n_iters: int,
    saturation: float | None,
    options: dict[str, Any],
) -> np.ndarray:
    """Restore the images of a chunk, whose estimates reach as far around it as light can."""
    spatial = block.shape[-psf.ndim :]
    wide = [n + k - 1 for n, k in zip(spatial, psf.shape, strict=True)]
    offset = [-(k - 1 - k // 2) for k in psf.shape]
    grid = next_fast_shape([n + (options["tv"] > 0) for n in wide])
    out = np.empty(block.shape, np.float32)
    for index in np.ndindex(block.shape[: -psf.ndim]):
        image = torch.from_numpy(np.array(block[index], np.float32, order="C"))
        _checks.finite_values(_NAME, "image", image)
        image.clamp_(min=0)
        if saturation is not None:
            image[image >= saturation] = -1
        level = float(mean[index].item())
        loop = RichardsonLucyTile(
            torch.from_numpy(psf), grid, n_iters=n_iters, mean=level, **options
        )
        out[index] = loop(image, offset, wide).numpy()
    return out
