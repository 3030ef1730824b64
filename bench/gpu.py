# SPDX-License-Identifier: BSD-3-Clause
"""Time the CUDA engine against torch.fft, eager and compiled, and against the bytes it has to move.

Each entry is checked against the plain loop first and timed in turns with it by CUDA events. The
time of an iteration (or convolution, or copy) is the difference between many and one, over their
number, queued while the device sleeps; medians of the turns. `bytes` are those counted in
bench/NOTES.md; `of_copy` is them over the time, as a share of the bandwidth of a copy in the same
run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import otfuse
from otfuse.bench.plain import PlainLoop, filtered, spectrum_on_grid

RESULTS = Path(__file__).resolve().parent / "results"
COPY_BYTES = 2**32
ITERS = 20
TURNS = 7
SLEEP_CYCLES = 4_000_000  # 2 ms or so
WORST = 2e-5  # relative error against the plain loop in float64, as for the CPU


@dataclass(frozen=True)
class Entry:
    """What is run, the voxels of it, and the bytes counted for each."""

    name: str
    shape: tuple[int, ...]
    psf: tuple[int, ...]
    bytes_per_voxel: float
    loop: bool


ENTRIES = [
    Entry("richardson_lucy 256x256x256", (256, 256, 256), (17, 17, 17), 84, True),
    Entry("richardson_lucy 512x512x512", (512, 512, 512), (17, 17, 17), 84, True),
    Entry("richardson_lucy 16 of 2048x2048", (16, 2048, 2048), (17, 17), 52, True),
    Entry("richardson_lucy 1024 of 128x128", (1024, 128, 128), (17, 17), 16, True),
    Entry("fft_convolve 1024 of 128x128", (1024, 128, 128), (17, 17), 8, False),
    Entry("fft_convolve 512x512x512", (512, 512, 512), (17, 17, 17), 44, False),
]

VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "shb": {"acceleration": "shb"},
    "biggs": {"acceleration": "biggs"},
    "tv": {"tv": 0.002},
}


Run = Callable[[int], object]  # so many iterations, convolutions, copies


def milliseconds(run: Run, count: int) -> float:
    """Time on the device, which sleeps until the first of it is queued."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(SLEEP_CYCLES)
    start.record()
    run(count)
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def medians(runs: dict[str, Run]) -> dict[str, float]:
    """Median milliseconds of one of each, in turns, after one turn that warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        for name, run in runs.items():
            elapsed = (milliseconds(run, ITERS + 1) - milliseconds(run, 1)) / ITERS
            if turn:
                times[name].append(elapsed)
    return {name: statistics.median(found) for name, found in times.items()}


def repeated(call: Callable[[], object]) -> Run:
    """`call` so many times."""

    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


def copy_bandwidth() -> float:
    """Bytes read plus written per second by a copy far larger than the cache."""
    source = torch.rand(COPY_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    copy = repeated(lambda: target.copy_(source))
    return 2 * COPY_BYTES / medians({"copy": copy})["copy"] * 1e3


def sample(entry: Entry) -> tuple[torch.Tensor, torch.Tensor]:
    """A positive image and an asymmetric PSF."""
    generator = torch.Generator("cuda").manual_seed(20)
    image = torch.rand(entry.shape, generator=generator, device="cuda") + 0.1
    psf = torch.rand(entry.psf, generator=generator, device="cuda")
    return image, psf / psf.sum()


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((actual.double() - expected).norm() / expected.norm())


def contenders(entry: Entry) -> dict[str, Run]:
    """otfuse, plain torch and compiled torch, each ready to be timed; otfuse is checked first."""
    image, psf = sample(entry)
    few = image[:2] if len(entry.psf) < len(entry.shape) else image
    if not entry.loop:
        otf = otfuse.Otf(psf, entry.shape[-psf.ndim :])
        axes = tuple(range(-psf.ndim, 0))
        transfer = spectrum_on_grid(psf, entry.shape[-psf.ndim :])
        check = filtered(few.double(), spectrum_on_grid(psf.double(), few.shape[-psf.ndim :]), axes)
        assert relative(otfuse.fft_convolve(few, otf), check) < WORST, entry.name
        compiled = torch.compile(lambda: filtered(image, transfer, axes))
        return {
            "otfuse": repeated(lambda: otfuse.fft_convolve(image, otf)),
            "plain": repeated(lambda: filtered(image, transfer, axes)),
            "compiled": repeated(compiled),
        }
    check = PlainLoop.prepare(few.double(), psf.double(), "circular").run(3)
    found = otfuse.richardson_lucy(few, psf, 3, boundary="circular")
    assert relative(found, check) < WORST, entry.name
    del check, found
    plain = PlainLoop.prepare(image, psf, "circular")
    step = torch.compile(plain.step)  # one iteration: twenty would compile for a minute
    runs = {
        "otfuse": lambda n: otfuse.richardson_lucy(image, psf, n, boundary="circular"),
        "plain": plain.run,
        "compiled": lambda n: plain.run(n, step),
    }
    if entry.bytes_per_voxel > 16:
        runs["mixed"] = lambda n: otfuse.richardson_lucy(
            image, psf, n, boundary="circular", precision="mixed"
        )
    return runs


def time_entry(entry: Entry, bandwidth: float) -> dict[str, object]:
    """Times of one iteration (or convolution), ratios, and the share of the copy bandwidth."""
    times = medians(contenders(entry))
    voxels = torch.Size(entry.shape).numel()
    moved = voxels * entry.bytes_per_voxel
    return {
        "name": entry.name,
        "milliseconds": times,
        "ratio": {k: v / times["otfuse"] for k, v in times.items() if k != "otfuse"},
        "voxels_per_second": voxels / times["otfuse"] * 1e3,
        "bytes_per_voxel": entry.bytes_per_voxel,
        "of_copy": moved / times["otfuse"] * 1e3 / bandwidth,
    }


def time_pointwise(bandwidth: float) -> list[dict[str, object]]:
    """rl_ratio and rl_update alone: 16 bytes an element."""
    a, b, c = (torch.rand(2**28, device="cuda") + 0.1 for _ in range(3))
    runs = {
        "rl_ratio": repeated(lambda: torch.ops.otfuse.rl_ratio(a, b, c, 1e-6, False)),
        "rl_update": repeated(lambda: otfuse.rl_update(a, b, c)),
    }
    times = medians(runs)
    return [
        {"name": k, "milliseconds": v, "of_copy": 16 * a.numel() / v * 1e3 / bandwidth}
        for k, v in times.items()
    ]


def time_variants() -> dict[str, float]:
    """Milliseconds of one iteration of each variant of the loop, 256x256x256 voxels."""
    image, psf = sample(ENTRIES[0])

    def run(options: dict[str, object]) -> Run:
        return lambda n: otfuse.richardson_lucy(image, psf, n, boundary="circular", **options)

    return medians({name: run(options) for name, options in VARIANTS.items()})


def machine(bandwidth: float) -> dict[str, object]:
    """What the figures were taken on."""

    def said(*command: str) -> str:
        try:
            found = subprocess.run(command, capture_output=True, text=True)
        except OSError:  # not every machine has it
            return ""
        return found.stdout.strip()

    driver = said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": driver.splitlines()[0] if driver else "",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "otfuse": otfuse.__version__,
        "commit_date": said("git", "log", "-1", "--format=%cI"),
        "copy_bytes_per_second": bandwidth,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="JSON file; default: bench/results/<gpu>.json")
    arguments = parser.parse_args()
    importlib.import_module("otfuse.ops")
    bandwidth = copy_bandwidth()
    report = {
        "machine": machine(bandwidth),
        "pointwise": time_pointwise(bandwidth),
        "variants": time_variants(),
        "entries": [],
    }
    name = re.sub(r"[^a-z0-9]+", "-", report["machine"]["gpu"].lower()).strip("-")
    output = arguments.output or RESULTS / f"{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    for entry in ENTRIES:  # written after each: a run that is cut short leaves what it has
        torch.cuda.empty_cache()
        report["entries"].append(time_entry(entry, bandwidth))
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
