# SPDX-License-Identifier: BSD-3-Clause
"""The networks that are compared, and how many multiply-adds an image takes."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d
from torch.utils._python_dispatch import TorchDispatchMode

from otfuse.io import write_weights
from otfuse.nn import MRBCR


class UNet(nn.Module):
    """A U-Net of CARE's size: two levels down, 32 channels at the first, 5x5 kernels.

    Gives three scales, strided picks of the first, so that the same loss fits. Extents are
    multiples of 4. Weigert et al., Nat. Methods 15, 1090 (2018).
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64)
        self.down = nn.ModuleList([_pair(1, 32, 32), _pair(32, 64, 64)])
        self.bottom = _pair(64, 128, 64)
        self.up = nn.ModuleList([_pair(128, 64, widths[0]), _pair(64, 32, 32)])
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Restored images at every, every second and every fourth pixel."""
        x, kept = image, []
        for level in self.down:
            x = level(x)
            kept.append(x)
            x = max_pool2d(x, 2)
        x = self.bottom(x)
        for level, skipped in zip(self.up, reversed(kept), strict=True):
            x = level(torch.cat([interpolate(x, scale_factor=2), skipped], 1))
        z = image + self.head(x)
        return z, z[..., ::2, ::2], z[..., ::4, ::4]

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the weights."""
        arrays = {name: v.cpu().numpy() for name, v in self.state_dict().items()}
        write_weights(path, arrays, {"model": "unet"}, overwrite=overwrite)


def _pair(taken: int, between: int, given: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(taken, between, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(between, given, 5, padding=2),
        nn.ReLU(),
    )


NETWORKS = {
    "m-rBCR as published": lambda psf: MRBCR(),
    "m-rBCR frequency, knows the PSF": lambda psf: MRBCR(frequency=True, psf=psf),
    "m-rBCR frequency": lambda psf: MRBCR(frequency=True),
    "U-Net": lambda psf: UNet(),
}


class _Count(TorchDispatchMode):
    """Adds up the multiply-adds of convolutions, products of matrices and transforms."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        name = function.overloadpacket.__name__
        if name in ("convolution", "mkldnn_convolution", "_convolution"):
            self.total += result.numel() * arguments[1][0].numel()
        elif name in ("bmm", "mm"):
            times = 4 if result.is_complex() else 1
            self.total += times * result.numel() * arguments[0].shape[-1]
        elif name == "_fft_r2c":
            self.total += _of_transform(arguments[0], arguments[1])
        elif name == "_fft_c2r":
            self.total += _of_transform(result, arguments[1])
        return result


def _of_transform(real: Tensor, axes: list[int]) -> float:
    """Half of the usual 2.5 n log2 n floating-point operations of a real transform."""
    return 1.25 * real.numel() * math.log2(math.prod(real.shape[a] for a in axes))


def multiply_adds(network: nn.Module, image: Tensor) -> int:
    """Of one forward pass, gradients on: fused kernels would hide what they compute."""
    with _Count() as count:
        network(image)
    return round(count.total)
