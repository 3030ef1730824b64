# SPDX-License-Identifier: BSD-3-Clause
"""Blur by a PSF that changes over the image, and Richardson-Lucy deconvolution of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from otfuse import _checks, ops
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype
from otfuse.functional._geometry import extended_geometry
from otfuse.functional._iterate import (
    FLOOR,
    LEAST_SEEN,
    correction_of,
    first_estimate,
    in_units,
    light_of,
    scale_of,
    weight_of,
    with_momentum,
)
from otfuse.functional._tiles import TiledBlur
from otfuse.functional._views import (
    Camera,
    Job,
    View,
    backgrounds,
    checked_background,
    checked_images,
)

_TILE_COST = 1.4  # of an iteration on tiles: cut out and added up, over its transforms


def space_varying_convolve(
    image: Any, psfs: Any, *, overlap: float = 1.0, adjoint: bool = False
) -> Any:
    """Blur by PSFs that stand on a grid over the image, or the exact adjoint of it.

    out = sum_t H_t (w_t image): the light of each voxel is spread by the PSFs of the nodes
    around it, in shares w_t that sum to 1. Node i of g along an axis of n voxels stands in the
    middle of its n / g of them, at (i + 1/2) n / g - 1/2; from one to the next the shares fade
    as a raised cosine, beyond the outermost they stay.

    Parameters
    ----------
    image : array, shape (..., nz + kz - 1, ny + ky - 1, nx + kx - 1)
        Any finite real numbers; with `adjoint`, of shape (..., nz, ny, nx).
    psfs : array, shape (gz, gy, gx, kz, ky, kx), or (gy, gx, ky, kx) in two dimensions
        A grid of PSFs, each with its centre at k // 2. An axis along which nothing changes has
        one node.
    overlap : float
        Part of the way between two nodes on which both count, above 0 and at most 1. Less is
        faster and less smooth.
    adjoint : bool
        Apply the adjoint operator: it maps n to n + k - 1.

    Returns
    -------
    array, shape (..., nz, ny, nx)
        The part of the blur that a camera of that shape sees, as with `fft_convolve` and
        "extended". The kind of `image`. Differentiable twice in image and psfs.

    Raises
    ------
    ValueError
        If psfs is no grid of PSFs, has more nodes than there are voxels, an axis is empty, the
        image is smaller than the PSFs, values are not finite, or devices differ.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Nagy & O'Leary, SIAM J. Sci. Comput. 19, 1063 (1998); Hirsch et al., CVPR 2010.
    """
    name = "space_varying_convolve"
    x = to_tensor(name, "image", image)
    x = x.to(working_dtype(x))
    h = _checked_psfs(name, psfs, x)
    ndim = h.ndim // 2
    _checks.spatial_axes(name, "image", x, ndim)
    for label, array in (("image", x), ("psfs", h)):
        if _checks.values_visible(array):
            _checks.finite_values(name, label, array)
    extents = tuple(h.shape[ndim:])
    shape = tuple(x.shape[-ndim:])
    if not adjoint:
        shape = tuple(n - k + 1 for n, k in zip(shape, extents, strict=True))
        if min(shape) < 1:
            raise ValueError(
                f"{name}: image must be at least as large as the psfs, got image "
                f"{tuple(x.shape[-ndim:])} and psfs {extents}; it is n + k - 1 values that give n"
            )
    blur = TiledBlur(name, h, shape, overlap)
    flat = x.reshape(-1, *x.shape[-ndim:])
    out = blur.adjoint(flat) if adjoint else blur.forward(flat)
    return back_to_kind(image)(out.reshape(*x.shape[:-ndim], *out.shape[1:]))


def space_varying_richardson_lucy(
    image: Any,
    psfs: Any,
    n_iters: int = 30,
    *,
    overlap: float = 1.0,
    background: Any = 0.0,
    acceleration: str | None = None,
    mask: Any = None,
    init: Any = "mean",
) -> Any:
    """Richardson-Lucy deconvolution with a PSF that changes over the image.

    x <- p H^T(y / (H p + b)) / H^T 1 with the H of `space_varying_convolve`, where p is x, or
    with acceleration "shb" p = x + (k-1)/(k+2) (x - x_before), at least x / 2, in iteration k. One
    model of the whole image: there are no tiles to be stitched afterwards. Edges are "extended" as
    in `richardson_lucy`, which it equals where all PSFs do.

    On the CPU nodes share the transforms of the whole image where that is less work than tiles of
    their own (few nodes, or PSFs that are large against the image); it takes an OTF of the whole
    image for each node, and a spectrum for each of a plane's.

    Parameters
    ----------
    image : array, shape (..., nz, ny, nx)
        Observed counts, not negative, background included. Integers are computed in float32.
    psfs : array, shape (gz, gy, gx, kz, ky, kx), or (gy, gx, ky, kx) in two dimensions
        A grid of PSFs over the image, not negative, each normalised to sum 1, centre at k // 2.
        `otfuse.psf.depth_series` makes one along z from an optical model.
    n_iters : int
        At least 1.
    overlap : float
        As in `space_varying_convolve`.
    background : float or array
        Light that does not come from the object, in the image's unit.
    acceleration : {None, "shb"}
    mask : array, optional
        Broadcasts against `image`; zero where a pixel is saturated or dead.
    init : {"mean", "image"} or array
        As in `richardson_lucy`.

    Returns
    -------
    array, shape of `image`
        The kind of `image`. Differentiable in image, psfs, init and an array of background, with
        memory that grows as `n_iters`.

    Raises
    ------
    ValueError
        If the image is negative or not finite, a psf is negative, zero or not finite, psfs is no
        grid of PSFs, shapes do not fit, devices differ, or an option is unknown.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Nagy & O'Leary, SIAM J. Sci. Comput. 19, 1063 (1998); Richardson 1972; Lucy 1974.
    """
    name = "space_varying_richardson_lucy"
    _checks.at_least(name, "n_iters", n_iters, 1)
    _checks.one_of(name, "acceleration", acceleration, (None, "shb"))
    view = View(image, psfs, mask, background)
    first = to_tensor(name, "image", image)
    h = _checked_psfs(name, psfs, first.to(working_dtype(first)))
    ndim = h.ndim // 2
    if _checks.values_visible(h):
        _checks.light_psf(name, h, ndim, "psfs")
    h = h / h.sum(tuple(range(-ndim, 0)), keepdim=True)
    (y,), (seen,) = checked_images(name, [view], ndim, counts=True)
    level = checked_background(name, view, y)
    batch, shape = tuple(y.shape[:-ndim]), tuple(y.shape[-ndim:])

    def flat(array: Tensor) -> Tensor:
        return array.reshape(-1, *shape)

    blur = TiledBlur(name, h, shape, overlap)
    level = flat(level) if level.ndim else level
    job = Job([Camera(flat(y), level, None if seen is None else flat(seen), blur)], batch)
    scale = scale_of(job)
    start, accelerated = first_estimate(name, job, init, FLOOR * scale), acceleration is not None
    if blur.shared_cost() < _TILE_COST and blur.fits(start, job.cameras[0].image, level):
        arrays = (h.reshape(-1, *h.shape[ndim:]), start, (FLOOR * scale).flatten())
        out = _in_core(job.cameras[0], blur, *arrays, n_iters, accelerated)
        return back_to_kind(image)(out.reshape(*batch, *shape))
    (camera,) = in_units(job, scale)
    light = light_of(camera)
    alive = light > LEAST_SEEN
    start = start / scale * alive
    fused = blur.fits(start, camera.image, camera.background)
    step = (_in_place if fused else _composed)(camera, blur, weight_of(light, alive))
    out = with_momentum(step, start.contiguous(), n_iters, accelerated, FLOOR * alive)
    return back_to_kind(image)(job.finish(out * scale))


def _in_core(
    camera: Camera,
    blur: TiledBlur,
    psfs: Tensor,
    start: Tensor,
    floor: Tensor,
    n_iters: int,
    accelerated: bool,
) -> Tensor:
    """All iterations in the core, on the whole grid, where nodes share what transforms they can."""
    shape = tuple(camera.image.shape[1:])
    g = extended_geometry(shape, psfs.shape[1:])
    level, background = backgrounds([camera])
    windows = (1, g.grid, g.padded, g.psf_offset, g.estimate_offset)
    steps = (level, 0.0, n_iters, 0, "shb" if accelerated else "none", 0.0, [1.0] * len(shape))
    state = (start, None, None, floor, background, None)
    tensors = (camera.counts, psfs, None, None, *state, blur.shares())
    return ops.rl_nodes(*tensors, *windows, *steps, True, False, False)


Step = Callable[[Tensor], Tensor]


def _composed(camera: Camera, blur: TiledBlur, weight: Tensor) -> Step:
    """An iteration as a sequence of convolutions: differentiable, on every device."""
    return lambda p: ops.rl_update(p, correction_of(camera, p), weight)


def _in_place(camera: Camera, blur: TiledBlur, weight: Tensor) -> Step:
    """An iteration in the memory of the point that it starts from."""
    image, background = camera.image.contiguous(), camera.background.contiguous()
    ratio, correction = torch.empty_like(image), torch.empty_like(weight)

    def step(p: Tensor) -> Tensor:
        blur.blur_into(p, ratio)
        ops.rl_ratio_(image, ratio, background, FLOOR, False)
        blur.back_into(ratio, correction)
        ops.rl_update_(p, correction, weight)
        return p

    return step


def _checked_psfs(function: str, psfs: Any, image: Tensor) -> Tensor:
    """A grid of PSFs in the image's type."""
    h = to_tensor(function, "psfs", psfs)
    _checks.same_device(function, "psfs", h, image)
    if h.ndim not in (2, 4, 6) or 0 in h.shape:
        raise ValueError(
            f"{function}: psfs must be a grid of PSFs with as many grid axes as spatial ones, "
            f"(gz, gy, gx, kz, ky, kx) or (gy, gx, ky, kx), got shape {tuple(h.shape)}; an axis "
            "along which nothing changes has one node"
        )
    return h.to(image.dtype)
