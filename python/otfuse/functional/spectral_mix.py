# SPDX-License-Identifier: BSD-3-Clause
"""Channels mixed in the frequency domain by symbols that vary smoothly from octave to octave."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from otfuse import _checks, ops
from otfuse.functional._arrays import back_to_kind, to_tensor, working_dtype

STAGES = ("free", "adjoint", "inverse")


def spectral_mix(
    x: Any,
    weight: Any,
    *,
    bias: Any = None,
    psf: Any = None,
    stage: str = "free",
    regularization: Any = None,
) -> Any:
    """Mix channels by a symbol of the frequency, a pseudo-differential operator of order 0.

    `Y(k) = sum_l T_l(k) phi_l(|k|) S_l(k) X(k)` with
    `S_l = A_l + i (kx / |k|) B_l + i (ky / |k|) C_l [+ i (kz / |k|) D_l]`. The windows phi_l are
    raised cosines in log2 |k|, one octave wide, and sum to 1: band 0 holds the constant, the last
    one the corners. The directional parts are 0 at the constant and where an axis is at its
    Nyquist frequency, so a real image gives a real one. The image is periodic.

    Parameters
    ----------
    x : array, shape (batch, c_in, ny, nx) or (batch, c_in, nz, ny, nx)
    weight : array, shape (bands, 1 + d, c_out, c_in)
        A, B, C (and D) of each band, for d = 2 or 3 axes.
    bias : array, shape (c_out,), optional
    psf : array of d axes, optional
        Centred at k // 2, no larger than x.
    stage : {"free", "adjoint", "inverse"}
        T_l is 1; the conjugate of the PSF's transform K; or `1 / (|K|^2 + softplus(e_l))`.
    regularization : array, shape (bands,), optional
        e_l, for "inverse".

    Returns
    -------
    array, shape (batch, c_out, ...)
        The kind of x. Differentiable in x, weight, bias, psf and regularization.

    Raises
    ------
    ValueError
        If shapes do not fit each other, or a stage lacks what it needs.
    TypeError
        If an array is complex or does not hold numbers.

    References
    ----------
    Beylkin, Coifman & Rokhlin 1991; Li, Kudryashev & Yakimovich, ECCV 2024.
    """
    _checks.one_of("spectral_mix", "stage", stage, STAGES)
    image = to_tensor("spectral_mix", "x", x)
    image = image.to(working_dtype(image))
    given = {"weight": weight, "bias": bias, "psf": psf, "regularization": regularization}
    arrays = {
        name: to_tensor("spectral_mix", name, value).to(image)
        for name, value in given.items()
        if value is not None
    }
    _check(image, arrays, stage)
    return back_to_kind(x)(_mix(image, arrays, stage))


def _mix(image: Tensor, arrays: dict[str, Tensor], stage: str) -> Tensor:
    weight = arrays["weight"]
    d = weight.shape[1] - 1
    shape = image.shape[2:]
    # Tracing would go through the cache all the same, and warn of it.
    basis_of = _basis.__wrapped__ if torch.compiler.is_compiling() else _basis
    basis = basis_of(tuple(shape), len(weight), image.dtype, image.device)
    if stage != "free":
        otf = _spectrum(arrays["psf"], tuple(shape))
        if stage == "inverse":
            floor = softplus(arrays["regularization"]).reshape(-1, *[1] * d)
            gain = 1 / (otf.real.square() + otf.imag.square() + floor)
            basis = basis * gain[:, None, ..., None]
        else:
            basis = torch.view_as_real(torch.view_as_complex(basis) * otf.conj())
    terms = weight.permute(2, 3, 0, 1).flatten(2)
    result = ops.spectral_mix_factors(image, terms, basis.flatten(0, 1), False)
    bias = arrays.get("bias")
    return result if bias is None else result + bias.reshape(-1, *[1] * d)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # kept for training too, which takes no tensor of inference mode
def _basis(shape: tuple[int, ...], bands: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Windows times 1, i kx / |k|, i ky / |k|, ...: (bands, 1 + d, ..., nx_half, 2)."""
    exact: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    half = torch.fft.rfftfreq(shape[-1], **exact)
    lines = [*(torch.fft.fftfreq(n, **exact) for n in shape[:-1]), half]
    k = torch.stack(torch.meshgrid(*lines, indexing="ij"))
    radius = k.square().sum(0).sqrt()
    octave = (bands - 1 + torch.log2(2 * radius.clamp(min=1e-12))).clamp(0, bands - 1)
    usable = (radius > 0) & (k.abs() < 0.5).all(0)
    directions = torch.where(usable, k / radius.clamp(min=1e-12), 0).flip(0)
    # Band by band: in double precision all of them are larger than what the network works in.
    basis = radius.new_zeros((bands, 1 + len(shape), *radius.shape, 2), dtype=dtype)
    for band, of_band in enumerate(basis):
        distance = (octave - band).abs().clamp(max=1)
        window = torch.cos(0.5 * math.pi * distance).square()
        of_band[0, ..., 0] = window
        of_band[1:, ..., 1] = window * directions
    return basis.to(device)


def _spectrum(psf: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Half spectrum of a PSF with its centre moved to the origin."""
    pads = [
        n for k, e in zip(reversed(psf.shape), reversed(shape), strict=True) for n in (0, e - k)
    ]
    axes = tuple(range(psf.ndim))
    return torch.fft.rfftn(pad(psf, pads).roll([-(k // 2) for k in psf.shape], axes))


def _check(image: Tensor, arrays: dict[str, Tensor], stage: str) -> None:
    weight = arrays["weight"]
    d = weight.shape[1] - 1 if weight.ndim == 4 else 0
    if d not in (2, 3) or 0 in weight.shape:
        raise ValueError(
            "spectral_mix: weight must have axes (bands, 1 + d, c_out, c_in) for d = 2 or 3, none "
            f"empty, got shape {tuple(weight.shape)}"
        )
    if image.ndim != d + 2 or image.shape[1] != weight.shape[3] or min(image.shape[2:]) < 1:
        raise ValueError(
            f"spectral_mix: x must have shape (batch, {weight.shape[3]}) and {d} axes that are not "
            f"empty, got {tuple(image.shape)}"
        )
    for name, extent in (("bias", weight.shape[2]), ("regularization", weight.shape[0])):
        if name in arrays and arrays[name].shape != (extent,):
            raise ValueError(
                f"spectral_mix: {name} must have shape ({extent},), got {tuple(arrays[name].shape)}"
            )
    needed = {"free": [], "adjoint": ["psf"], "inverse": ["psf", "regularization"]}[stage]
    for name in needed:
        if name not in arrays:
            raise ValueError(f"spectral_mix: {name} must be given for stage {stage!r}, got none")
    if "psf" in arrays:
        if arrays["psf"].ndim != d:
            raise ValueError(
                f"spectral_mix: psf must have {d} axes, got shape {tuple(arrays['psf'].shape)}"
            )
        _checks.fits("spectral_mix", arrays["psf"].shape, image.shape[2:])
