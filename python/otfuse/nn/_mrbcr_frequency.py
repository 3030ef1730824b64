# SPDX-License-Identifier: BSD-3-Clause
"""m-rBCR of frequency blocks: u = (K^T K + e)^-1 K^T y over three scales."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, interpolate, pad

from otfuse.nn._layers import conv, convolution
from otfuse.nn.frequency_block import FrequencyBlock

SCALES = (4, 2, 0)
_RESIDUALS = 3
_HEAD = 0.01  # so that an untrained network gives back about what it takes
_MARGIN = 8  # reflected pixels around the image, which the blocks take for periodic


class Residual(nn.Module):
    """x + a 3x3 convolution of a frequency block of x."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.mix = FrequencyBlock(channels, channels, bands=bands)
        self.cross = convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Of any extents."""
        return x + conv(self.cross, self.mix(x))


class Scale(nn.Module):
    """One scale: a K^T stage, fusion with the coarser one, a B stage with residual blocks, a head.

    Parameters
    ----------
    channels, bands : int
    informed : bool
        Whether the stages know the PSF.
    fused : bool
        Whether there is a coarser scale.
    """

    def __init__(self, channels: int, bands: int, informed: bool, fused: bool) -> None:
        super().__init__()
        adjoint, inverse = ("adjoint", "inverse") if informed else ("free", "free")
        self.back = FrequencyBlock(1, channels, bands=bands, stage=adjoint)
        self.fuse = convolution(2 * channels, channels, 1) if fused else None
        self.inverse = FrequencyBlock(channels, channels, bands=bands, stage=inverse)
        self.residuals = nn.ModuleList(Residual(channels, bands) for _ in range(_RESIDUALS))
        self.head = convolution(channels, 1, 3)
        with torch.no_grad():
            self.head.weight.mul_(_HEAD)

    def forward(
        self, x: Tensor, coarser: Tensor | None, psf: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The restored image of this scale, and the features that the next one takes."""
        features = self.back(x, psf)
        if self.fuse is not None and coarser is not None:
            raised = interpolate(coarser, scale_factor=2, mode="bilinear", align_corners=False)
            features = conv(self.fuse, features, raised, relu=True)
        features = self.inverse(features, psf)
        for residual in self.residuals:
            features = residual(features)
        return x + conv(self.head, features), features


class Frequency(nn.Module):
    """The three scales, the coarsest first.

    Parameters
    ----------
    psf : Tensor, shape (ky, kx), or None
        Centred at k // 2; scaled to sum to 1.
    channels, bands : int
    """

    def __init__(self, psf: Tensor | None, channels: int, bands: int) -> None:
        super().__init__()
        self.scales = nn.ModuleDict(
            {str(s): Scale(channels, bands, psf is not None, s != 4) for s in SCALES}
        )
        for scale in reversed(SCALES):
            if psf is not None:
                psf = psf / psf.sum()
            self.register_buffer(f"psf{scale}", psf)
            psf = None if psf is None else coarser_psf(psf)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Restore images of shape (batch, 1, ny, nx), extents multiples of 4."""
        wide = pad(x, (_MARGIN,) * 4, mode="reflect")
        restored: dict[int, Tensor] = {}
        features = None
        for scale in SCALES:
            step = max(1, scale)
            psf = self.get_buffer(f"psf{scale}") if self.informed else None
            z, features = self.scales[str(scale)](wide[..., ::step, ::step], features, psf)
            edge = _MARGIN // step
            restored[scale] = z[..., edge:-edge, edge:-edge]
        return restored[0], restored[2], restored[4]

    @property
    def informed(self) -> bool:
        """Whether the stages know the PSF."""
        return getattr(self, "psf0", None) is not None


def coarser_psf(psf: Tensor) -> Tensor:
    """A PSF on pixels of twice the size: smoothed by (1, 2, 1), then every second value.

    The centre stays at k // 2.
    """
    for axis in range(psf.ndim):
        lines = pad(psf.movedim(axis, -1), (2, 2))
        smooth = avg_pool1d(avg_pool1d(lines, 2, 1), 2, 1)[..., 1:-1]
        psf = smooth[..., (smooth.shape[-1] // 2) % 2 :: 2].movedim(-1, axis)
    return torch.clone(psf)
