# SPDX-License-Identifier: BSD-3-Clause
"""The compiled core: pointers, extents and strides in, no torch."""

from typing import Any

Triple = tuple[int, int, int]

cuda_architectures: str
cuda: Any  # the module of the kernels, csrc/bind/kernels.cpp; None where they were not built

class Field:
    def __init__(
        self, data: int, stride: Triple, batch_stride: int, offset: Triple, extent: Triple
    ) -> None: ...

def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
def set_simd(level: str) -> None: ...
def clear_workspaces() -> int: ...
def use_huge_pages(data: int, n_bytes: int) -> None: ...
def otf_size(is_double: bool, grid: Triple) -> int: ...
def next_fast_extent(n: int) -> int: ...
def make_otf_cpu(
    is_double: bool, grid: Triple, kernels: int, kernel: Field, otf: int, threads: int
) -> None: ...
def fft_convolve_cpu(
    is_double: bool,
    grid: Triple,
    batch: int,
    image: Field,
    otf: int,
    kernels: int,
    inner: int,
    out: Field,
    adjoint: bool,
    threads: int,
    shares: Triple | None = None,
    add: bool = False,
) -> None: ...

class RichardsonLucy:
    grid: Triple
    batch: int
    image: Field
    otf: int
    otf_back: int
    kernels: int
    inner: int
    estimate: Field
    previous: Field | None
    change: Field | None
    out: Field
    out_previous: Field | None
    out_change: Field | None
    divergence: int
    judged: Field | None
    judged_offset: float
    second: Field | None
    agreed: int
    fewest: float
    floor: int
    background: float
    background_map: Field | None
    n_iters: int
    first_iteration: int
    acceleration: str
    tv: float
    voxel: tuple[float, float, float]
    weighted: bool
    views: int
    joint: str
    nodes: Triple
    shares: tuple[int, int, int]
    threads: int
    def __init__(self) -> None: ...

def richardson_lucy_cpu(is_double: bool, loop: RichardsonLucy) -> None: ...
def psf_terms_cpu(is_double: bool, loop: RichardsonLucy, light: Field | None) -> None: ...
def richardson_lucy_bytes_cpu(
    is_double: bool,
    grid: Triple,
    batch: int,
    kernels: int,
    image_extent: Triple,
    acceleration: str,
    weighted: bool,
    unmatched: bool,
    tv: bool,
    mapped: bool,
    judged: bool,
    threads: int,
) -> int: ...
def richardson_lucy_bytes_cuda(
    is_double: bool,
    grid: Triple,
    batch: int,
    kernels: int,
    image_extent: Triple,
    acceleration: str,
    weighted: bool,
    unmatched: bool,
    tv: bool,
    mapped: bool,
    judged: bool,
    threads: int,
) -> int: ...
def spectral_mix_cpu(
    is_double: bool,
    grid: Triple,
    batch: int,
    outs: int,
    ins: int,
    x: Field,
    symbol: int,
    weight: int,
    basis: int,
    terms: int,
    adjoint: bool,
    out: Field,
    threads: int,
) -> None: ...
def spectral_mix_symbol_cpu(
    is_double: bool,
    grid: Triple,
    batch: int,
    outs: int,
    ins: int,
    x: Field,
    grad_y: Field,
    grad_symbol: int,
    threads: int,
) -> None: ...
def rl_ratio_cpu(
    is_double: bool,
    count: int,
    image: int,
    reblurred: int,
    background: int,
    floor: float,
    add: bool,
    out: int,
    threads: int,
) -> None: ...
def rl_update_cpu(
    is_double: bool,
    count: int,
    estimate: int,
    correction: int,
    weight: int,
    out: int,
    threads: int,
    clamp: bool,
) -> None: ...
def rln_cpu(
    extent: Triple,
    batch: int,
    views: int,
    image: int,
    weights: int,
    n_weights: int,
    denominator: float,
    out: int,
    threads: int,
) -> None: ...
def rln_bytes_cpu(extent: Triple, views: int, threads: int) -> int: ...
def rln_strips_cpu(extent: Triple, views: int, threads: int) -> list[tuple[int, int, int, int]]: ...
def rln_some_strips_cpu(
    extent: Triple,
    views: int,
    begin: int,
    end: int,
    image: int,
    weights: int,
    n_weights: int,
    denominator: float,
    memory: int,
    out: int,
    threads: int,
) -> None: ...

class ConvThin:
    def __init__(
        self,
        is_double: bool,
        batch: int,
        extent: Triple,
        sources: list[tuple[int, int, int, int]],
        added: tuple[int, int, int, int] | None,
        channels_out: int,
        kernel: Triple,
        weight: int,
        bias: int,
        activation: str,
        out: int,
        /,
    ) -> None: ...

class PixelMlp:
    def __init__(
        self,
        is_double: bool,
        batch: int,
        pixels: int,
        input: int,
        layers: list[tuple[int, int, int, int]],
        out: int,
        /,
    ) -> None: ...

class ThinNetwork:
    def __init__(
        self,
        is_double: bool,
        program: list[int],
        parameters: list[tuple[int, int, int, int, int]],
        batch: int,
        extent: Triple,
        image: int,
        outputs: list[int],
        /,
    ) -> None: ...

def conv_thin_cpu(job: ConvThin, threads: int) -> None: ...
def pixel_mlp_cpu(job: PixelMlp, threads: int) -> None: ...
def thin_network_cpu(job: ThinNetwork, threads: int) -> None: ...
