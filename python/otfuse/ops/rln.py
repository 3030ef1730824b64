# SPDX-License-Identifier: BSD-3-Clause
"""otfuse::rln: (batch, views, z, y, x) to (batch, 1, z, y, x), inference in float32 only."""

from __future__ import annotations

import torch
from torch import Tensor

from otfuse import _C
from otfuse.ops._fields import on_huge_pages
from otfuse.ops._registry import operator, register_fake


@operator("rln", "(Tensor image, Tensor weights, float denominator) -> Tensor")
def rln(image: Tensor, weights: Tensor, denominator: float) -> Tensor:
    """The Richardson-Lucy Network with its normalisations folded in."""
    image, weights = checked(image, weights)
    batch, views, nz, ny, nx = image.shape
    out = on_huge_pages(image.new_empty(batch, 1, nz, ny, nx))
    if batch:
        _C.rln_cpu(
            (nz, ny, nx),
            batch,
            views,
            image.data_ptr(),
            weights.data_ptr(),
            weights.numel(),
            denominator,
            out.data_ptr(),
            torch.get_num_threads(),
        )
    return out


def checked(image: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Both as the core takes them; TypeError if they are not float32."""
    if image.dtype != torch.float32 or weights.dtype != torch.float32:
        raise TypeError(f"rln: tensors must be float32, got {image.dtype} and {weights.dtype}")
    return image.contiguous(), weights.contiguous()


@register_fake("rln")
def _(image: Tensor, weights: Tensor, denominator: float) -> Tensor:
    return image.new_empty(image.shape[0], 1, *image.shape[2:])


def rln_bytes(extents: tuple[int, int, int], views: int, threads: int | None) -> int:
    """Bytes that the op takes besides its arguments and result."""
    return _C.rln_bytes_cpu(extents, views, threads or torch.get_num_threads())


def rln_strips(
    extents: tuple[int, int, int], views: int, threads: int | None
) -> list[tuple[int, int, int, int]]:
    """First and end of the rows that each strip of a volume reads, and of those it makes."""
    return _C.rln_strips_cpu(extents, views, threads or torch.get_num_threads())


class RlnWalk:
    """A volume that is restored strip by strip: what earlier strips leave to later ones."""

    def __init__(self, extents: tuple[int, int, int], views: int, n_bytes: int) -> None:
        self._extents, self._views, self._threads = extents, views, torch.get_num_threads()
        # Whatever the defaults of device and dtype are.
        floats = torch.empty(n_bytes // 4, dtype=torch.float32, device="cpu")
        self._memory = on_huge_pages(floats)

    def step(
        self, strips: range, image: Tensor, weights: Tensor, denominator: float, rows: int
    ) -> Tensor:
        """The next strips: the rows (z, rows, x) that they make of image (views, z, rows, x)."""
        nz, _, nx = self._extents
        image, out = image.contiguous(), on_huge_pages(image.new_empty(nz, rows, nx))
        _C.rln_some_strips_cpu(
            self._extents,
            self._views,
            strips.start,
            strips.stop,
            image.data_ptr(),
            weights.data_ptr(),
            weights.numel(),
            denominator,
            self._memory.data_ptr(),
            out.data_ptr(),
            self._threads,
        )
        return out
