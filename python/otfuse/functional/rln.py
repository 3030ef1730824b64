# SPDX-License-Identifier: BSD-3-Clause
"""The Richardson-Lucy Network as one compiled function, and the form of weights it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from otfuse import _checks, ops

# Winograd's F(2, 3): what three taps become, so that four products make two outputs.
_TAPS = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_TRANSPOSED = 7
_AFFINE = (3, 9, 12, 15)

Affine = tuple[Tensor, Tensor]


def rln(image: Tensor, weights: Tensor, *, denominator: float = 1e-4) -> Tensor:
    """Restore volumes by the Richardson-Lucy Network, inference only.

    On the CPU all stages walk along z together, two planes at a time and, where planes are larger
    than the cache, strip of rows after strip, and keep what is still needed: `rln_bytes`. On a CUDA
    device it is 72 bytes a voxel.

    Parameters
    ----------
    image : Tensor, shape (batch, views, nz, ny, nx), float32
        Normalised to about 0 to 1; one view or two, each extent at least 2.
    weights : Tensor, shape (n,), float32
        From `pack_rln_weights`.
    denominator : float
        Added to both divisors.

    Returns
    -------
    Tensor, shape (batch, 1, nz, ny, nx)
        Not differentiable: `otfuse.nn.RLN` is.

    Raises
    ------
    ValueError
        If the image has other axes or an extent below 2, or the weights are of another number.
    TypeError
        If a tensor is not float32.

    References
    ----------
    Li et al., Nat. Methods 19, 1427 (2022); Lavin & Gray, CVPR 2016 (the convolutions).
    """
    if image.ndim != 5 or image.shape[1] not in (1, 2) or min(image.shape[2:]) < 2:
        raise ValueError(
            "rln: image must have axes (batch, 1 or 2 views, z, y, x), each extent at least 2, "
            f"got shape {tuple(image.shape)}"
        )
    _checks.same_device("rln", "weights", weights, image)
    return ops.rln(image, weights, denominator)


def rln_bytes(extents: Sequence[int], views: int = 1, threads: int | None = None) -> int:
    """Bytes that `rln` takes on the CPU for a volume of these extents, image and result aside.

    Parameters
    ----------
    extents : (nz, ny, nx)
    views : {1, 2}
    threads : int, optional
        By default `torch.get_num_threads()`; many need higher strips.
    """
    nz, ny, nx = extents
    return ops.rln_bytes((nz, ny, nx), views, threads)


def pack_rln_weights(kernels: Mapping[int, Tensor], affines: Mapping[int, Affine]) -> Tensor:
    """The network's weights as `rln` reads them.

    Parameters
    ----------
    kernels : mapping of 1 .. 15 to Tensor
        Shape (out, in, 3, 3, 3); number 7, transposed: (in, out, 2, 2, 2).
    affines : mapping of 0 .. 16 to (factor, shift), each of shape (channels,)
        What normalisations amount to in inference. Those after a convolution are folded into it.

    Returns
    -------
    Tensor, shape (n,), float32
    """
    taps = kernels[1].new_tensor(_TAPS, dtype=torch.float64)
    parts: list[Tensor] = []
    for k in sorted(kernels):
        kernel = kernels[k].detach().double()
        kernel = kernel.transpose(0, 1) if k == _TRANSPOSED else kernel
        norm = _NORM_OF.get(k)
        if norm is None:
            shift = kernel.new_zeros(len(kernel))
        else:
            factor, shift = (values.detach().double() for values in affines[norm])
            kernel = kernel * factor[:, None, None, None, None]
        if k == _TRANSPOSED:
            parts += [kernel.permute(2, 3, 4, 1, 0), shift]
        else:
            parts += [torch.einsum("tz,oizyx->tiyxo", taps, kernel), shift]
    parts += [values.detach().double() for norm in _AFFINE for values in affines[norm]]
    return torch.cat([part.reshape(-1) for part in parts]).float()


# The normalisation after each convolution.
_NORM_OF = {1: 0, 2: 1, 3: 2, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 10, 10: 11, 11: 13, 12: 14, 15: 16}
