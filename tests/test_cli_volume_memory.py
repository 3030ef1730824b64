# SPDX-License-Identifier: BSD-3-Clause
"""A volume four times as large as the memory that there is for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli_helpers import save
from otfuse.io import create_volume, open_volume
from otfuse.jobs import Ledger, job_folder
from test_cli_volume import VOXEL

pytest.importorskip("zarr")
SHAPE = (1, 1, 16, 2048, 2048)
LIMIT = 2 * int(np.prod(SHAPE)) // 4

# A small job first, so that all that a job loads is there; then the peak is counted anew.
_CHILD = """
import sys
from pathlib import Path
from otfuse.cli import main
from otfuse.cli._memory import resident

def job(image, out, memory):
    words = [image, "-o", out, "--psf", "psf.tif", "--iters", "1", "--background", "100"]
    assert main(["deconvolve", *words, "--psf-center", "none", "--max-memory", f"{memory}B"]) == 0

job("small.zarr", "first.zarr", 10**10)
allowed = resident() + int(sys.argv[1])
Path("/proc/self/clear_refs").write_text("5")
job("in.zarr", "out.zarr", allowed)
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(f"peak {peak} of {allowed}")
"""


def make(path: Path, shape: tuple[int, ...]) -> None:
    writer = create_volume(path, shape, np.uint16, voxel=VOXEL, chunks=(1, 1, 16, 64, 64))
    rng = np.random.default_rng(1)
    for y in range(0, shape[3], 256):
        rows = slice(y, min(y + 256, shape[3]))
        extents = (shape[2], rows.stop - rows.start, shape[4])
        writer.write((0, 0, slice(0, shape[2]), rows), rng.integers(90, 300, extents, np.uint16))
    writer.finish()


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="only Linux tells the peak of a part of a run",
)
def test_within_a_quarter_of_the_volume(tmp_path: Path) -> None:
    make(tmp_path / "small.zarr", (1, 1, 16, 64, 64))
    make(tmp_path / "in.zarr", SHAPE)
    line = np.array([0.02, 0.2, 0.56, 0.2, 0.02], np.float32)
    save(tmp_path / "psf.tif", (line[:, None, None] * line[:, None] * line)[None, None])
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(LIMIT)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"peak (\d+) of (\d+)", done.stdout)
    assert found is not None
    assert int(found[1]) <= int(found[2])
    assert int(done.stdout.split(" tiles of")[-2].split()[-1]) > 50
    result = open_volume(tmp_path / "out.zarr")
    assert result.shape == SHAPE
    assert Ledger(job_folder(tmp_path / "out.zarr")).finished
    assert np.isfinite(result.read((0, 0, 0))).all()
