# SPDX-License-Identifier: BSD-3-Clause
"""How fast RLN is: the compiled network against plain torch, and a whole volume from file to file.

    python bench/rln_speed.py --output bench/results/rln-MACHINE.json
    python bench/rln_speed.py --volume /tmp/volume.tif --output ...

Both contenders run in turns in one process and are compared before they are timed. With `--volume`,
`otfuse predict --max-memory 2GB` restores that file, 1024 x 1024 x 200 voxels of uint16 which are
simulated if it does not exist; its rate is given as a share of the one in memory, the mean of that
right before and right after, which differ where other machines share the processor.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from math import prod
from pathlib import Path

import numpy as np
import tifffile
import torch

import otfuse
from otfuse import simulate
from otfuse.bench.measure import seconds
from otfuse.functional import rln_bytes
from otfuse.nn import RLN

EXTENTS = (64, 128, 128)
VOLUME = (200, 1024, 1024)
BLOCK = 256  # the simulated specimen is repeated in y and x


def in_memory(rounds: int) -> dict[str, float]:
    """Median times of both, and what they differ by."""
    torch.manual_seed(0)
    network = RLN().eval()
    image = torch.rand(1, 1, *EXTENTS)
    with torch.no_grad():
        difference = network(image) - network.restore_and_estimate(image).prediction
        scale = network(image).abs().max()
        runs = {
            "otfuse": lambda: network(image),
            "plain": lambda: network.restore_and_estimate(image),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                times[name].append(seconds(run))
    pairs = zip(times["plain"], times["otfuse"], strict=True)
    return {
        "relative_difference": float(difference.abs().max() / scale),
        "otfuse_seconds": statistics.median(times["otfuse"]),
        "plain_torch_seconds": statistics.median(times["plain"]),
        "ratio": statistics.median(plain / ours for plain, ours in pairs),
        "voxels_per_second": prod(EXTENTS) / statistics.median(times["otfuse"]),
        "bytes_per_voxel": rln_bytes(EXTENTS) / prod(EXTENTS) + 8,
    }


def make_volume(path: Path) -> None:
    """A specimen of filaments, shells and beads with photon noise, as BigTIFF."""
    nz, ny, nx = VOLUME
    truth = simulate.specimen((nz, BLOCK, BLOCK), seed=1).numpy()
    rng = np.random.default_rng(0)
    planes = (
        rng.poisson(100 + 900 * np.tile(plane, (ny // BLOCK, nx // BLOCK))).astype(np.uint16)
        for plane in truth
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        tif.write(planes, shape=VOLUME, dtype=np.uint16, photometric="minisblack")


def rate_in_memory(rounds: int) -> float:
    """Voxels a second of the network alone, the median."""
    network, image = RLN().eval(), torch.rand(1, 1, *EXTENTS)
    with torch.no_grad():
        network(image)
        return prod(EXTENTS) / statistics.median(
            seconds(lambda: network(image)) for _ in range(rounds)
        )


def file_to_file(path: Path, rounds: int) -> dict[str, float]:
    """Time and peak memory of the command, and its rate against that in memory."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        weights, out = Path(folder) / "w.safetensors", Path(folder) / "out.tif"
        network = RLN()
        network.save(weights)
        words = ["predict", path, "-o", out, "--model", "rln", "--weights", weights]
        before = rate_in_memory(rounds)
        start = time.perf_counter()
        command = [sys.executable, "-m", "otfuse.cli", *words, "--max-memory", "2GB"]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - start
        after = rate_in_memory(rounds)
    return {
        "seconds": took,
        "voxels_per_second_in_memory_before": before,
        "voxels_per_second_in_memory_after": after,
        "share_of_rate_in_memory": prod(VOLUME) / took / statistics.mean((before, after)),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--volume", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    record: dict[str, object] = {
        "otfuse": otfuse.__version__,
        "torch": torch.__version__,
        "simd": otfuse.simd_level(),
        "threads": torch.get_num_threads(),
        "extents": EXTENTS,
    }
    if given.volume is not None and not given.volume.exists():
        make_volume(given.volume)
    record["in_memory"] = in_memory(given.rounds)
    if given.volume is not None:
        record["volume"] = VOLUME
        record["file_to_file"] = file_to_file(given.volume, given.rounds)
    print(json.dumps(record, indent=1))
    given.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
