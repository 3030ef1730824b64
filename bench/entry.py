# SPDX-License-Identifier: BSD-3-Clause
"""Everything that is timed: the short list of `otfuse bench`, and the rest."""

from otfuse.bench import SHORT, Entry
from otfuse.bench.entries import PSF_2D, PSF_3D

PEERS = ("peers",)  # also run the other packages: they take a while on large volumes

FFT_CONVOLVE = (
    Entry("fft_convolve", (16, 128, 128), PSF_2D),
    Entry("fft_convolve", (64, 128, 128), PSF_2D),
    Entry("fft_convolve", (2048, 2048), PSF_2D),
    Entry("fft_convolve", (64, 256, 256), PSF_3D),
    Entry("fft_convolve", (256, 256, 256), PSF_3D),
    Entry("fft_convolve", (64, 512, 512), PSF_3D),
    Entry("fft_convolve", (48, 200, 180), PSF_3D),
)

RICHARDSON_LUCY = (
    Entry("richardson_lucy", (16, 128, 128), PSF_2D),
    Entry("richardson_lucy", (64, 128, 128), PSF_2D),
    Entry("richardson_lucy", (2048, 2048), PSF_2D, tags=PEERS),
    Entry("richardson_lucy", (64, 256, 256), PSF_3D, tags=PEERS),
    Entry("richardson_lucy", (256, 256, 256), PSF_3D),
    Entry("richardson_lucy", (64, 512, 512), PSF_3D),
    Entry("richardson_lucy", (48, 200, 180), PSF_3D, tags=PEERS),
    Entry("richardson_lucy", (40, 201, 101), (79, 181, 181), boundary="extended"),
)

NETWORKS = (
    Entry("pixel_mlp", (16, 128, 128), (1, 1)),
    Entry("mrbcr", (16, 128, 128), (9, 9)),
    Entry("mrbcr", (1024, 1024), (9, 9)),
    Entry("spectral_mix", (16, 8, 128, 128), (1, 1)),
    Entry("spectral_mix_grad", (16, 8, 128, 128), (1, 1)),
)

ENTRIES = FFT_CONVOLVE + RICHARDSON_LUCY + NETWORKS

__all__ = ["ENTRIES", "FFT_CONVOLVE", "NETWORKS", "RICHARDSON_LUCY", "SHORT"]
