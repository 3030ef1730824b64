# SPDX-License-Identifier: BSD-3-Clause
"""Time the networks' CUDA kernels against plain torch, eager and (for the networks) compiled.

Each is checked against plain torch in float64, on a part of the batch, before it is timed in turns
with it by CUDA events. `flops` and `bytes` are those counted in bench/NOTES.md; `of_copy` is the
bytes over the time, as a share of the bandwidth of a copy in the same run. Eager torch comes as it
is set by default, its convolutions in TF32, and once more with that switched off.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from gpu import RESULTS, copy_bandwidth, machine, medians
from otfuse import reference
from otfuse.nn import MRBCR, RLN

Runs = dict[str, Callable[[], object]]
WORST = 1e-4  # of the largest value: tens of layers in float32


@dataclass(frozen=True)
class Entry:
    """What is run, and the floating-point operations and bytes counted for it."""

    name: str
    prepare: Callable[[], Runs]
    flops: float
    bytes: float


def check(found: Tensor, expected: Tensor) -> None:
    """Fail where the difference is too large."""
    error = float((found.double() - expected).abs().max() / expected.abs().max())
    assert error < WORST, f"{error:.1e} of the largest value"


def contenders(ours: Callable[[], object], plain: Callable[[], object], compile: bool) -> Runs:
    """Ours and torch's, each ready to be timed."""

    def in_float32() -> object:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return plain()

    runs: Runs = {"otfuse": ours, "plain": plain, "plain without TF32": in_float32}
    return {**runs, "compiled": torch.compile(plain)} if compile else runs


def double(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for the check."""
    return {name: w.double() for name, w in weights.items()}


def mrbcr(shape: tuple[int, ...], compile: bool) -> Runs:
    """The published network, images (batch, ny, nx)."""
    torch.manual_seed(0)
    network = MRBCR().cuda().eval().requires_grad_(False)
    images = torch.rand(shape, device="cuda")[:, None]
    weights = network.state_dict()

    @torch.no_grad()
    def ours(x: Tensor = images) -> Tensor:
        return network.body(x)[0]

    @torch.no_grad()
    def plain() -> Tensor:
        return reference.mrbcr(images, weights)["z0"]

    few = images[:2, :, :256, :256]
    check(ours(few), reference.mrbcr(few.double(), double(weights))["z0"])
    return contenders(ours, plain, compile)


def rln(shape: tuple[int, int, int], compile: bool) -> Runs:
    """One volume."""
    torch.manual_seed(0)
    network = RLN().cuda().eval().requires_grad_(False)
    image, weights = torch.rand(1, 1, *shape, device="cuda"), network.state_dict()
    packed = network.packed_weights()

    def ours(x: Tensor = image) -> Tensor:
        return torch.ops.otfuse.rln(x, packed, network.denominator)

    part = image[..., :32, :64, :64]
    check(ours(part), reference.rln(part.double(), double(weights))["first"])
    return contenders(ours, lambda: reference.rln(image, weights)["first"], compile)


def spectral_mix(backward: bool) -> Runs:
    """8 channels in and out, 16 images of 128x128."""
    x = torch.rand(16, 8, 128, 128, device="cuda")
    symbol = torch.rand(8, 8, 128, 65, dtype=torch.complex64, device="cuda")

    def formula(x: Tensor, symbol: Tensor) -> Tensor:
        mixed = torch.einsum("oiyx,biyx->boyx", symbol, torch.fft.rfft2(x))
        return torch.fft.irfft2(mixed, s=x.shape[2:])

    def fused(x: Tensor, symbol: Tensor) -> Tensor:
        return torch.ops.otfuse.spectral_mix(x, symbol, False)

    check(fused(x, symbol), formula(x.double(), symbol.to(torch.complex128)))
    x.requires_grad_(backward)
    symbol.requires_grad_(backward)

    def run(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        if not backward:
            return lambda: function(x, symbol)
        return lambda: torch.autograd.grad(function(x, symbol).sum(), (x, symbol))

    return contenders(run(fused), run(formula), compile=False)


def conv_thin() -> Runs:
    """3x3, 32 channels to 32, relu, 256 images of 128x128."""
    x = torch.rand(256, 32, 128, 128, device="cuda")
    weight, bias = torch.rand(32, 32, 3, 3, device="cuda") - 0.5, torch.rand(32, device="cuda")

    def ours(x: Tensor = x) -> Tensor:
        return torch.ops.otfuse.conv_thin([x], weight, bias, None, "relu")

    def plain(x: Tensor = x) -> Tensor:
        return reference.conv_thin(x, weight.to(x), bias.to(x), activation="relu")

    check(ours(x[:2]), plain(x[:2].double()))
    return contenders(ours, plain, compile=False)


def pixel_mlp() -> Runs:
    """Twelve layers of 32 channels from one, 256 images of 128x128."""
    x = torch.rand(256, 1, 128, 128, device="cuda")
    weights = [
        (torch.rand(b, a, device="cuda") - 0.5) * (4 / a**0.5) for a, b in pairwise([1, *[32] * 12])
    ]
    biases = [0.1 * torch.rand(32, device="cuda") for _ in weights]

    def ours(x: Tensor = x) -> Tensor:
        return torch.ops.otfuse.pixel_mlp(x, weights, biases)

    def plain(x: Tensor = x) -> Tensor:
        return reference.pixel_mlp(x, [w.to(x) for w in weights], [b.to(x) for b in biases])

    check(ours(x[:2]), plain(x[:2].double()))
    return contenders(ours, plain, compile=False)


BATCH, LARGE, MIXED = 256 * 128 * 128, 1024 * 1024, 16 * 8 * 128 * 128
SMALL_VOLUME, VOLUME = 64 * 128 * 128, 128 * 256 * 256
ENTRIES = [  # what torch.compile takes long for comes last
    Entry("mrbcr 1024x1024", lambda: mrbcr((1, 1024, 1024), False), 283_482 * LARGE, 9144 * LARGE),
    Entry("rln 128x256x256", lambda: rln((128, 256, 256), False), 12_862 * VOLUME, 380 * VOLUME),
    Entry("spectral_mix 16 of 8x128x128", lambda: spectral_mix(False), 102 * MIXED, 40 * MIXED),
    Entry("spectral_mix and gradients", lambda: spectral_mix(True), 306 * MIXED, 120 * MIXED),
    Entry("conv_thin 3x3 32 to 32", conv_thin, 18_432 * BATCH, 256 * BATCH),
    Entry("pixel_mlp 12 layers", pixel_mlp, 22_592 * BATCH, 132 * BATCH),
    Entry(
        "rln 64x128x128",
        lambda: rln((64, 128, 128), True),
        12_862 * SMALL_VOLUME,
        380 * SMALL_VOLUME,
    ),
    Entry(
        "mrbcr 256 of 128x128",
        lambda: mrbcr((256, 128, 128), True),
        283_482 * BATCH,
        9144 * BATCH,
    ),
]


def time_entry(entry: Entry, bandwidth: float) -> dict[str, object]:
    """Times, ratios, and what the counted work comes to."""
    times = medians(entry.prepare())
    seconds = times["otfuse"] / 1e3
    return {
        "name": entry.name,
        "milliseconds": times,
        "ratio": {k: v / times["otfuse"] for k, v in times.items() if k != "otfuse"},
        "flops_per_second": entry.flops / seconds,
        "of_copy": entry.bytes / seconds / bandwidth,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="JSON; default: bench/results/<gpu>-networks")
    arguments = parser.parse_args()
    importlib.import_module("otfuse.ops")
    bandwidth = copy_bandwidth()
    here = machine(bandwidth)
    name = re.sub(r"[^a-z0-9]+", "-", str(here["gpu"]).lower()).strip("-")
    output = arguments.output or RESULTS / f"{name}-networks.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, object]] = []
    for entry in ENTRIES:  # written after each: a run that is cut short leaves what it has
        torch.cuda.empty_cache()
        entries.append(time_entry(entry, bandwidth))
        print(json.dumps(entries[-1]), flush=True)
        report = {"machine": here, "entries": entries}
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
