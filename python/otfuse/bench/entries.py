# SPDX-License-Identifier: BSD-3-Clause
"""What is timed, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One operation on images of one shape.

    The spatial axes are as many as those of the PSF (for networks: their largest kernel); the axes
    of `shape` before them are batch.
    """

    # "richardson_lucy", "fft_convolve", "pixel_mlp", "mrbcr", "spectral_mix" or "spectral_mix_grad"
    op: str
    shape: tuple[int, ...]
    psf_shape: tuple[int, ...]
    boundary: str = "circular"
    dtype: str = "float32"
    device: str = "cpu"
    tags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`<op>_<shape>_<dtype>_<device>`, with the boundary where it is not the periodic one."""
        shape = "x".join(map(str, self.shape))
        boundary = "" if self.boundary == "circular" else f"_{self.boundary}"
        return f"{self.op}_{shape}{boundary}_{self.dtype}_{self.device}"

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.psf_shape)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Extents of one image."""
        return self.shape[-self.ndim :]


PSF_2D = (31, 33)
PSF_3D = (15, 31, 33)

# What `otfuse bench` times: one batch of images, one volume that fits the last cache of few
# machines, and one with edges, in about half a minute.
SHORT = (
    Entry("fft_convolve", (64, 128, 128), PSF_2D),
    Entry("richardson_lucy", (64, 128, 128), PSF_2D),
    Entry("richardson_lucy", (64, 256, 256), PSF_3D, tags=("peers",)),
    Entry("richardson_lucy", (40, 201, 101), (79, 181, 181), boundary="extended"),
)
