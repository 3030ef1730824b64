# SPDX-License-Identifier: BSD-3-Clause
"""The compiled core: pointers, extents and strides in, no torch."""

Triple = tuple[int, int, int]

cuda_architectures: str

class Field:
    def __init__(
        self, data: int, stride: Triple, batch_stride: int, offset: Triple, extent: Triple
    ) -> None: ...

def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
def set_simd(level: str) -> None: ...
def clear_workspaces() -> int: ...
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
) -> None: ...
def richardson_lucy_cpu(
    is_double: bool,
    grid: Triple,
    batch: int,
    image: Field,
    otf: int,
    kernels: int,
    inner: int,
    estimate: Field,
    previous: Field | None,
    out: Field,
    out_previous: Field | None,
    divergence: int,
    floor: int,
    background: float,
    n_iters: int,
    first_iteration: int,
    momentum: bool,
    weighted: bool,
    threads: int,
) -> None: ...
def richardson_lucy_bytes_cpu(
    is_double: bool,
    grid: Triple,
    batch: int,
    kernels: int,
    image_extent: Triple,
    momentum: bool,
    weighted: bool,
    threads: int,
) -> int: ...
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
def rln_bytes_cpu(extent: Triple, views: int) -> int: ...
