# SPDX-License-Identifier: BSD-3-Clause
"""A volume from OME-Zarr to OME-Zarr by tiles: its rate, its memory, and with a worker killed.

    python bench/volumes.py --folder /tmp/volumes --output bench/results/volumes.json

Simulates a light sheet (1024 x 1024 x 512 voxels of uint16, or `--shape`), restores it with ten
accelerated iterations within `--max-memory`, and again on a local cluster of two workers of which
one is killed. The rate is compared with that of the engine in memory on one tile of the same grid,
measured after the job, the median of three: by wall clock, and by processor time, which other work
on the machine disturbs less. Voxels are those of the result, halos are not counted for either.
With `--parts` the job or the cluster alone is measured, on the volume that is there; the record's
other part is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import psutil
import tifffile
import torch

import otfuse
from otfuse import psf, simulate
from otfuse.io import create_volume, open_volume
from otfuse.jobs import job_folder

SHAPE, BLOCK, N_ITERS = (512, 1024, 1024), 128, 10
CHUNK = (1, 1, 64, 128, 128)
VOXEL = (0.5, 0.2, 0.2)
PARTS = ["job", "cluster"]


def light_sheet() -> np.ndarray:
    """The PSF of a light sheet of 2.5 µm and a dipping objective of 0.8."""
    optics = {"na": 0.8, "wavelength": 0.52, "immersion_index": 1.33}
    shape = psf.default_shape(
        (64, 256, 256), VOXEL, modality="lightsheet", sheet_thickness=2.5, **optics
    )
    model = psf.light_sheet(shape, VOXEL, sheet_thickness=2.5, **optics)
    return np.asarray(model / model.sum(), np.float32)


def make_volume(folder: Path, shape: tuple[int, ...]) -> None:
    """A blurred specimen, repeated, with noise of its own in each chunk's layer."""
    kernel = light_sheet()
    tifffile.imwrite(folder / "psf.tif", kernel, metadata={"axes": "ZYX"})
    truth = 600 * simulate.specimen((BLOCK,) * 3, seed=1)
    blurred = otfuse.fft_convolve(truth, torch.from_numpy(kernel)).clamp(min=0) + 100
    writer = create_volume(
        folder / "in.zarr",
        (1, 1, *shape),
        np.uint16,
        voxel=VOXEL,
        chunks=CHUNK,
        compression="blosc-lz4",
        overwrite=True,
    )
    rng = np.random.default_rng(0)
    repeats = [-(-n // BLOCK) for n in shape[1:]]
    for z in range(0, shape[0], CHUNK[2]):
        layer = blurred.numpy()[z % BLOCK : z % BLOCK + CHUNK[2]]
        layer = np.tile(layer, (1, *repeats))[: shape[0] - z, : shape[1], : shape[2]]
        noisy = rng.standard_normal(layer.shape, np.float32) * np.sqrt(layer) + layer
        counts = np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)
        writer.write((0, 0, slice(z, z + len(layer))), counts)
    writer.finish()


def in_memory(folder: Path, tile: tuple[int, ...]) -> dict[str, float]:
    """Voxels a second of the engine on one tile, by the clock and by the processor."""
    part = tuple(slice(0, n) for n in tile)
    image = open_volume(folder / "in.zarr").read((0, 0, *part)).astype(np.float32)
    kernel = tifffile.imread(folder / "psf.tif")
    options = {"background": 100, "acceleration": "shb"}
    otfuse.richardson_lucy(image, kernel, 1, **options)
    times = []
    for _ in range(3):
        wall, busy = time.perf_counter(), time.process_time()
        otfuse.richardson_lucy(image, kernel, N_ITERS, **options)
        times.append((time.perf_counter() - wall, time.process_time() - busy))
    wall, busy = np.median(times, axis=0)
    return {"per_second": image.size / wall, "per_processor_second": image.size / busy}


@contextmanager
def command(folder: Path, out: str, memory: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """`otfuse deconvolve` under way."""
    words = [
        "deconvolve", folder / "in.zarr", "-o", folder / out, "--psf", folder / "psf.tif",
        "--iters", N_ITERS, "--background", 100, "--max-memory", memory, "--overwrite", *more,
    ]  # fmt: skip
    line = [sys.executable, "-m", "otfuse.cli", *map(str, words)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        yield process


def alone(folder: Path, memory: str) -> tuple[dict[str, Any], str]:
    """Time, processor time and peak memory of the job in one process, and what it printed."""
    start, peak = time.perf_counter(), [0]
    with command(folder, "out.zarr", memory) as process:
        assert process.stdout is not None
        Thread(target=watch_peak, args=(process.pid, peak), daemon=True).start()
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the job failed:\n{text}")
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": peak[0],
    }, text


def watch_peak(pid: int, peak: list[int]) -> None:
    """Keep the most memory that a process has had resident, as long as it lives.

    What the system tells of a process that has ended includes what its parent had when it began.
    """
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak[0] = next(int(s.split()[1]) * 1024 for s in lines if s.startswith("VmHWM"))
        except (OSError, StopIteration):
            return
        time.sleep(0.05)


def with_a_death(folder: Path, memory: str) -> dict[str, Any]:
    """The same on two workers, one of which is killed when some tiles are restored."""
    start, killed = time.perf_counter(), False
    scratch = job_folder(folder / "cluster.zarr") / "scratch"
    with command(folder, "cluster.zarr", memory, "--local-cluster", "2") as process:
        while process.poll() is None:
            time.sleep(0.2)
            if not killed and scratch.exists() and len(list(scratch.glob("*.npy"))) > 3:
                workers = psutil.Process(process.pid).children(recursive=True)
                victims = [w for w in workers if "spawn_main" in " ".join(w.cmdline())]
                os.kill(victims[0].pid, signal.SIGKILL)
                killed = True
    return {
        "seconds": time.perf_counter() - start,
        "exit_code": process.returncode,
        "worker_killed": killed,
    }


def equal(folder: Path) -> bool:
    """Whether both outputs hold the same, bit for bit."""
    one, two = open_volume(folder / "out.zarr"), open_volume(folder / "cluster.zarr")
    for z in range(0, one.shape[2], CHUNK[2]):
        region = (0, 0, slice(z, min(z + CHUNK[2], one.shape[2])))
        if not np.array_equal(one.read(region), two.read(region)):
            return False
    return True


def main() -> None:
    """Simulate, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, metavar=("NZ", "NY", "NX"))
    parser.add_argument("--max-memory", default="1GB")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    if given.parts == PARTS or not (given.folder / "in.zarr").exists():
        make_volume(given.folder, tuple(given.shape))
    record = json.loads(given.output.read_text()) if given.output.exists() else {}
    if "job" in given.parts:
        record |= job_record(given)
    if "cluster" in given.parts:
        record["cluster"] = with_a_death(given.folder, given.max_memory)
        record["outputs_equal"] = equal(given.folder)
    print(json.dumps(record, indent=1))
    given.output.write_text(json.dumps(record, indent=1) + "\n")


def job_record(given: argparse.Namespace) -> dict[str, Any]:
    """The job in one process, and the engine on one of its tiles."""
    shape = tuple(given.shape)
    job, text = alone(given.folder, given.max_memory)
    found = re.search(r"tiles? of (\d+) x (\d+) x (\d+)", text)
    assert found is not None
    tile = tuple(int(n) for n in found.groups())
    engine = in_memory(given.folder, tile)
    return {
        "otfuse": otfuse.__version__,
        "simd": otfuse.simd_level(),
        "threads": torch.get_num_threads(),
        "shape": shape,
        "n_iters": N_ITERS,
        "max_memory": given.max_memory,
        "plan": next(line for line in text.splitlines() if line.startswith("plan")),
        "job": job,
        "engine_on_one_tile": {"tile": tile, **engine},
        "share_of_engine": prod(shape) / job["seconds"] / engine["per_second"],
        "share_of_engine_by_processor": prod(shape)
        / job["processor_seconds"]
        / engine["per_processor_second"],
        "load_of_the_machine": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
