# SPDX-License-Identifier: BSD-3-Clause
"""An entry with its arrays: what is called, what it is compared with, what it must equal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from otfuse import (
    Otf,
    clear_cache,
    fft_convolve,
    pixel_mlp,
    plan_richardson_lucy,
    reference,
    richardson_lucy,
)
from otfuse.nn import MRBCR

from .entries import Entry
from .peers import Peer, installed_peers
from .plain import PlainLoop, filtered, spectrum_on_grid

CHECKED_ITERS = 3


@dataclass(frozen=True)
class Contender:
    """One way to compute an entry: a first call from scratch, and many iterations once prepared."""

    cold: Callable[[], Tensor]
    prepare: Callable[[], Callable[[int], object]]  # called after `cold`, so that it is cold


@dataclass(frozen=True)
class Case:
    """All ways to compute an entry, and the right answer of their cold call."""

    otfuse: Contender
    plain: Contender
    peers: dict[str, Peer]
    reference: Callable[[], Tensor]
    voxels: int  # of the padded volume, batch included


def sample(entry: Entry) -> tuple[Tensor, Tensor]:
    """Return a positive image and an asymmetric PSF, the same in every run."""
    generator = torch.Generator().manual_seed(20)
    dtype = getattr(torch, entry.dtype)
    image = torch.rand(entry.shape, generator=generator, dtype=dtype) + 0.1
    psf = torch.rand(entry.psf_shape, generator=generator, dtype=dtype)
    for axis, extent in enumerate(entry.psf_shape):
        far = (torch.arange(extent, dtype=dtype) - extent // 2) / (0.2 * extent)
        psf *= torch.exp(-0.5 * far**2).reshape([-1 if a == axis else 1 for a in range(psf.ndim)])
    return image, psf / psf.sum()


def build_case(entry: Entry) -> Case:
    """Return the entry's arrays bound to everything that computes it."""
    image, psf = sample(entry)
    if entry.op == "fft_convolve":
        return _convolution(entry, image, psf)
    if entry.op in ("pixel_mlp", "mrbcr"):
        return _network(entry, image)
    if entry.op.startswith("spectral_mix"):
        return _mixing(entry, image)
    return _deconvolution(entry, image, psf)


def _repeat(call: Callable[[], object]) -> Callable[[int], None]:
    def run(n: int) -> None:
        for _ in range(n):
            call()

    return run


def _convolution(entry: Entry, image: Tensor, psf: Tensor) -> Case:
    axes = tuple(range(-entry.ndim, 0))

    def cold() -> Tensor:
        clear_cache()
        return fft_convolve(image, psf, boundary=entry.boundary)

    def prepare() -> Callable[[int], None]:
        otf = Otf(psf, entry.spatial, boundary=entry.boundary)
        return _repeat(lambda: fft_convolve(image, otf, boundary=entry.boundary))

    def plain_cold() -> Tensor:
        return filtered(image, spectrum_on_grid(psf, entry.spatial), axes)

    def plain_prepare() -> Callable[[int], None]:
        spectrum = spectrum_on_grid(psf, entry.spatial)
        return _repeat(lambda: filtered(image, spectrum, axes))

    return Case(
        otfuse=Contender(cold, prepare),
        plain=Contender(plain_cold, plain_prepare),
        peers={},
        reference=lambda: reference.fft_convolve(
            image.double(), psf.double(), boundary=entry.boundary
        ),
        voxels=math.prod(entry.shape),
    )


def _network(entry: Entry, image: Tensor) -> Case:
    """m-rBCR with random weights, or the layers that it has for each pixel of the finest scale."""
    with torch.random.fork_rng():
        torch.manual_seed(20)
        network = MRBCR().to(image.dtype).eval()
    weights = network.state_dict()
    images = image.reshape(-1, 1, *entry.spatial)
    layers = [f"body.pixel.0.{k}" for k in range(12)]

    def flat(weights: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        kernels = [weights[f"{layer}.weight"].flatten(1) for layer in layers]
        return kernels, [weights[f"{layer}.bias"] for layer in layers]

    def plain(image: Tensor, weights: dict[str, Tensor]) -> Tensor:
        with torch.inference_mode():
            if entry.op == "mrbcr":
                return reference.mrbcr(image, weights)["z0"]
            return reference.pixel_mlp(image, *flat(weights))

    def ours() -> Tensor:
        with torch.inference_mode():
            return network(images)[0] if entry.op == "mrbcr" else pixel_mlp(images, *flat(weights))

    def exact() -> Tensor:
        # In float64 torch unfolds the image for its 9x9 kernel: 32 GB where it is large.
        if images.numel() > 2**19:
            return plain(images, weights)
        return plain(images.double(), {name: w.double() for name, w in weights.items()})

    return Case(
        otfuse=Contender(ours, lambda: _repeat(ours)),
        plain=Contender(
            lambda: plain(images, weights), lambda: _repeat(lambda: plain(images, weights))
        ),
        peers={},
        reference=exact,
        voxels=math.prod(entry.shape),
    )


def _mixing(entry: Entry, image: Tensor) -> Case:
    """Channels mixed by a symbol that is ready: forward, or forward and both gradients."""
    channels, *spatial = entry.shape[-3:]
    generator = torch.Generator().manual_seed(21)
    half = (channels, channels, *spatial[:-1], spatial[-1] // 2 + 1)
    parts = [torch.randn(half, generator=generator, dtype=image.dtype) for _ in range(2)]
    symbol = torch.complex(*parts)
    wanted = torch.rand(entry.shape, generator=generator, dtype=image.dtype)

    def plain(x: Tensor, m: Tensor) -> Tensor:
        mixed = torch.einsum("oiyx,biyx->boyx", m, torch.fft.rfft2(x))
        return torch.fft.irfft2(mixed, s=spatial)

    def run(mix: Callable[[Tensor, Tensor], Tensor], x: Tensor, m: Tensor) -> Tensor:
        if entry.op == "spectral_mix":
            return mix(x, m)
        x, m = x.detach().requires_grad_(), m.detach().requires_grad_()
        y = mix(x, m)
        grads = torch.autograd.grad(y, (x, m), wanted.to(y.dtype))
        return torch.cat([grads[0].flatten(), torch.view_as_real(grads[1]).flatten()])

    def ours() -> Tensor:
        return run(lambda x, m: torch.ops.otfuse.spectral_mix(x, m, False), image, symbol)

    return Case(
        otfuse=Contender(ours, lambda: _repeat(ours)),
        plain=Contender(
            lambda: run(plain, image, symbol), lambda: _repeat(lambda: run(plain, image, symbol))
        ),
        peers={},
        reference=lambda: run(plain, image.double(), symbol.to(torch.complex128)),
        voxels=math.prod(entry.shape),
    )


def _deconvolution(entry: Entry, image: Tensor, psf: Tensor) -> Case:
    plan = plan_richardson_lucy(
        entry.spatial, entry.psf_shape, boundary=entry.boundary, dtype=entry.dtype
    )

    def run(n_iters: int) -> Tensor:
        return richardson_lucy(image, psf, n_iters, boundary=entry.boundary)

    def cold() -> Tensor:
        clear_cache()
        return run(CHECKED_ITERS)

    def plain() -> PlainLoop:
        return PlainLoop.prepare(image, psf, entry.boundary)

    return Case(
        otfuse=Contender(cold, lambda: run),
        plain=Contender(lambda: plain().run(CHECKED_ITERS), lambda: plain().run),
        peers=installed_peers(image.numpy(), psf.numpy()) if "peers" in entry.tags else {},
        reference=lambda: reference.richardson_lucy(
            image.double(), psf.double(), CHECKED_ITERS, boundary=entry.boundary
        ),
        voxels=math.prod(entry.shape[: -entry.ndim]) * plan.padded_voxels,
    )
