# SPDX-License-Identifier: BSD-3-Clause
"""The memory that `otfuse deconvolve` foretells of a whole image, and what it takes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli_helpers import save

SHAPE = (1, 1, 24, 256, 256)
WAYS = {
    "an offset": [],
    "saturated": ["--background", "50", "--acceleration", "none"],
    "looks": ["--stop", "idiv", "--background", "50"],
    "held out": ["--gain", "1", "--offset", "40"],
    "consensus": ["--gain", "1", "--offset", "40", "--stop", "gradient-consensus"],
    "circular": ["--acceleration", "biggs", "--boundary", "circular", "--background", "50"],
    "reflected": ["--boundary", "reflect", "--tv", "0.001", "--background", "50"],
}

# A small job first, so that all that a job loads is there; then the peak is counted anew.
_CHILD = """
import json, sys
from pathlib import Path
from otfuse.cli import main
from otfuse.cli._memory import resident

def job(image, words):
    iters = [] if "--iters" in words else ["--iters", "8"]
    given = [image, "-o", "out.tif", "--psf", "psf.tif", "--overwrite", *iters, *words]
    assert main(["deconvolve", *given]) == 0

for name, words in json.loads(sys.argv[1]).items():
    job("small.tif", words)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    job(("saturated" if name == "saturated" else "large") + ".tif", words)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(f"peak of {name}: {peak - before}")
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="only Linux tells the peak of a part of a run",
)
def test_a_plan_is_what_is_taken(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    small, large = (rng.poisson(100, s).astype(np.float32) for s in ((1, 1, 8, 32, 32), SHAPE))
    save(tmp_path / "small.tif", small)
    save(tmp_path / "large.tif", large)
    large[..., 100:120, 100:120] = 65535
    save(tmp_path / "saturated.tif", large)
    line = np.array([0.02, 0.2, 0.56, 0.2, 0.02], np.float32)
    save(tmp_path / "psf.tif", (line[:, None, None] * line[:, None] * line)[None, None])
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(WAYS)],
        cwd=tmp_path,
        # Arrays of this size would else share a heap with holes.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plans = [float(n) for n in re.findall(r"^plan .* ([\d.]+) [kM]B, ", done.stdout, re.M)][1::2]
    peaks = dict(re.findall(r"^peak of (.*): (\d+)", done.stdout, re.M))
    assert len(plans) == len(WAYS) == len(peaks), done.stdout
    found = {name: int(peaks[name]) / 1e6 / plan for name, plan in zip(WAYS, plans, strict=True)}
    assert all(0.85 <= part <= 1.15 for part in found.values()), found
