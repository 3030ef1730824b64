# SPDX-License-Identifier: BSD-3-Clause
"""What a job takes is known before it starts: grid, tiles, bytes and time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import otfuse
from cli_helpers import lopsided_psf

SHAPE = (48, 300, 300)
PSF = lopsided_psf((9, 15, 15))
# Arrays above 32 MB go back to the system when they are freed.
LARGER = (48, 440, 440)
CAMERA = {"gain": 1.0, "offset": 0.0}

# The memory that a run adds to a process that has computed before; large arrays, so that what is
# freed goes back to the system and is not counted.
_CHILD = """
import json, sys
import numpy as np
import otfuse, otfuse.tiling
from otfuse.cli._memory import resident

case = json.loads(sys.argv[1])
shape, dtype, tiled = case.pop("shape"), case.pop("dtype"), case.pop("max_memory", None)
psf, n_iters = np.load(sys.argv[2]), 6 if "stop" in case else 2  # several looks at the run
rng = np.random.default_rng(0)

class Counts:  # read from somewhere, written to somewhere
    def __init__(self):
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
    def __getitem__(self, where):
        return np.full([s.stop - s.start for s in where], 7, self.dtype)
    def __setitem__(self, where, block):
        assert np.isfinite(block[0, 0, 0])

def run(image):
    if tiled is None:
        otfuse.richardson_lucy(image, psf, n_iters, **case)
    else:
        otfuse.tiling.richardson_lucy(Counts(), psf, n_iters, max_bytes=tiled, out=Counts(), **case)

small = case.copy()
otfuse.richardson_lucy(np.ones((12, 32, 32), dtype), psf, 2, **small)
image = rng.poisson(10, shape).astype(dtype) if tiled is None else None
open("/proc/self/clear_refs", "w").write("5")
before = resident()
run(image)
status = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 - before)
"""


@pytest.mark.parametrize(
    "case",
    [
        {"dtype": "uint16", "acceleration": "shb"},
        {"dtype": "float32", "boundary": "reflect"},
        {"dtype": "float32", "back_projector": "wiener_butterworth"},
        {
            "dtype": "uint16",
            "shape": (48, 500, 500),
            "acceleration": "shb",
            "max_memory": 2 * 10**8,
        },
        {"dtype": "uint16", "acceleration": "shb", "stop": "idiv"},
        {"dtype": "float32", "stop": "held_out", **CAMERA, "shape": LARGER},
        {"dtype": "uint16", "stop": "held_out", "acceleration": "shb", **CAMERA, "shape": LARGER},
        {"dtype": "uint16", "stop": "gradient_consensus", **CAMERA, "shape": LARGER},
        {
            "dtype": "uint16",
            "shape": (48, 700, 700),
            "stop": "held_out",
            "acceleration": "shb",
            "max_memory": 10**9,
            **CAMERA,
        },
    ],
    ids=[
        "whole", "reflect", "unmatched", "tiles", "idiv", "held out", "held out, shb", "consensus",
        "tiles held out",
    ],
)  # fmt: skip
def test_memory_is_foretold(tmp_path: Any, case: dict[str, Any]) -> None:
    case = {"shape": (48, 360, 360), **case}
    np.save(tmp_path / "psf.npy", PSF)
    child = [sys.executable, "-c", _CHILD, json.dumps(case), str(tmp_path / "psf.npy")]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options = {"acceleration": None, **case}
    for name in CAMERA:
        options.pop(name, None)
    shape, dtype = options.pop("shape"), options.pop("dtype")
    plan = otfuse.plan(shape, dtype, PSF, n_iters=2, **options)
    assert (plan.n_tiles > 1) == ("max_memory" in case)
    assert plan.peak_bytes == pytest.approx(int(done.stdout), rel=0.15), str(plan)


# The same of a plane through a network, as `otfuse predict` works on it.
_NETWORK_CHILD = """
import sys
import numpy as np
import torch
from types import SimpleNamespace
from otfuse.cli._device import CPU
from otfuse.cli._memory import resident
from otfuse.cli._predict_planes import PlanesTile, memory_of
from otfuse.nn import MRBCR
from otfuse.tiling.mrbcr_plan import plan_mrbcr

frequency, extent, allowed = (int(word) for word in sys.argv[1:])
network = MRBCR(frequency=bool(frequency)).eval()
network.restore(np.ones((1, 64, 64), np.float32))
open("/proc/self/clear_refs", "w").write("5")
before = resident()
plan = plan_mrbcr((extent, extent), allowed or None, memory=memory_of(network))
image = np.random.default_rng(0).random((extent, extent), np.float32)
options = SimpleNamespace(normalize="image", scale="image", verbose=False, compute=CPU)
restorer = PlanesTile(network, options, plan)
restorer.compute(None, [torch.from_numpy(a) for a in restorer.scaled(image[None], ["plane"])])
status = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 - before)
"""


@pytest.mark.parametrize(
    ("algorithm", "extent", "allowed"),
    [("mrbcr", 768, None), ("mrbcr", 800, 3 * 10**8), ("mrbcr_frequency", 1024, None)],
    ids=["whole", "tiles", "frequency"],
)
def test_memory_of_a_network_is_foretold(algorithm: str, extent: int, allowed: int | None) -> None:
    words = [str(n) for n in (int(algorithm != "mrbcr"), extent, allowed or 0)]
    child = [sys.executable, "-c", _NETWORK_CHILD, *words]
    plan = otfuse.plan((extent, extent), "float32", None, algorithm, max_memory=allowed)
    assert (plan.n_tiles > 1) == (allowed is not None)
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert plan.peak_bytes == pytest.approx(int(done.stdout), rel=0.15), str(plan)


def test_the_whole_image() -> None:
    plan = otfuse.plan(SHAPE, "uint16", PSF, n_iters=10, rate=3.0)
    assert plan.n_tiles == 1 and plan.tile == SHAPE and plan.overlap == (0, 0, 0)
    assert plan.grid == otfuse.plan_richardson_lucy(SHAPE, PSF.shape, acceleration="shb").grid
    assert plan.parts["image as float32"] == plan.parts["result"] == 4 * np.prod(SHAPE)
    assert plan.seconds == pytest.approx(3e-9 * np.prod(plan.grid) * 10)
    text = str(plan)
    assert text.startswith(f"grid {' x '.join(map(str, plan.grid))}, ") and "10 iterations" in text
    assert otfuse.plan(SHAPE, np.dtype("uint16"), PSF.shape, n_iters=10, rate=3.0) == plan
    assert "image as float32" not in otfuse.plan(SHAPE, torch.float32, PSF).parts


def test_tiles() -> None:
    whole = otfuse.plan(SHAPE, "uint16", PSF)
    plan = otfuse.plan(SHAPE, "uint16", PSF, max_memory=whole.peak_bytes // 3)
    assert plan == otfuse.plan(SHAPE, "uint16", PSF, max_memory=whole.peak_bytes // 3)
    assert plan.loop is not None and plan.n_tiles == len(plan.loop.tiles) > 1
    assert plan.peak_bytes <= whole.peak_bytes // 3
    assert plan.grid == otfuse.next_fast_shape(plan.grid)
    assert plan.seconds is not None and whole.seconds is not None
    assert plan.seconds > whole.seconds  # what overlaps is computed twice
    assert str(plan).startswith(f"{plan.n_tiles} tiles of ")


@given(part=st.floats(0.02, 1.2), nz=st.integers(8, 60), nx=st.integers(60, 900))
def test_a_plan_fits_or_is_refused(part: float, nz: int, nx: int) -> None:
    shape = (nz, 200, nx)
    whole = otfuse.plan(shape, "uint16", PSF)
    allowed = int(part * whole.peak_bytes)
    try:
        plan = otfuse.plan(shape, "uint16", PSF, max_memory=allowed)
    except ValueError as error:
        assert str(allowed) in str(error) and str(whole.peak_bytes) in str(error)
        return
    assert plan.peak_bytes <= allowed
    covered = np.zeros(shape, bool)
    for tile in plan.loop.tiles if plan.loop else []:
        covered[tile.slices] = True
    assert covered.all() or plan.n_tiles == 1


def test_a_device_has_no_rate_unless_one_is_given() -> None:
    assert otfuse.plan(SHAPE, "uint16", PSF, device="cuda:0").seconds is None
    assert otfuse.plan(SHAPE, "uint16", PSF, device="cuda", rate=0.05).seconds is not None


def test_a_device_too_small_is_refused_with_the_bytes() -> None:
    """Five arrays of 4 bytes a voxel, of 1536^3 voxels and one more: spectra, shared by none."""
    shape, psf = (1500,) * 3, (31,) * 3
    need = otfuse.plan(shape, "uint16", psf, device="cuda", acceleration=None).peak_bytes
    voxels = 1536**3
    assert 4 * 4 * voxels < need < 1.1 * (4 * 4 * voxels + 2 * 4 * 1500**3)
    with pytest.raises(ValueError, match=rf"whole job, {need} bytes, got {16 * 2**30}"):
        otfuse.plan(shape, "uint16", psf, device="cuda", acceleration=None, max_memory=16 * 2**30)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_network_of_planes(device: str) -> None:
    shape = (5, 1500, 1100)
    whole = otfuse.plan(shape, "uint16", None, "mrbcr", device)
    assert whole.n_tiles == 5 and whole.tile == (1, *shape[1:]) and whole.seconds is None
    plan = otfuse.plan(shape, "uint16", None, "mrbcr", device, whole.peak_bytes // 2, rate=1000)
    assert plan.n_tiles > 5 and plan.n_tiles % 5 == 0 and plan.peak_bytes <= whole.peak_bytes // 2
    assert {o for o, t, n in zip(plan.overlap, plan.tile, shape, strict=True) if 1 < t < n} == {216}
    assert plan.seconds is not None and plan.seconds > 1e-6 * np.prod(shape)
    assert "iterations" not in str(plan)
    assert otfuse.plan(shape[1:], "uint16", None, "mrbcr", device).tile == shape[1:]
    with pytest.raises(ValueError, match="the last two at least 16, for mrbcr"):
        otfuse.plan((40, 40, 15), "uint16", None, "mrbcr", device)


def test_frequency_blocks_see_a_whole_plane() -> None:
    shape = (2, 900, 900)
    whole = otfuse.plan(shape, "uint16", None, "mrbcr_frequency")
    wider = otfuse.plan(shape, "uint16", None, "mrbcr_frequency", channels=32, bands=5)
    assert whole.n_tiles == 2 and wider.peak_bytes > 1.5 * whole.peak_bytes
    allowed = whole.peak_bytes - 1
    words = rf"a whole plane for frequency .* {whole.peak_bytes} bytes, got {allowed}\)"
    with pytest.raises(ValueError, match=words):
        otfuse.plan(shape, "uint16", None, "mrbcr_frequency", max_memory=allowed)


def test_a_network_by_rows() -> None:
    plan = otfuse.plan((64, 4000, 300), "uint16", None, "rln", rate=100)
    assert plan.overlap == (0, 0, 0)  # nothing is computed twice
    assert plan.seconds == pytest.approx(1e-7 * 64 * 4000 * 300)
    assert plan.tile[1] * plan.n_tiles >= 4000
    higher = otfuse.plan((64, 8000, 300), "uint16", None, "rln")
    assert higher.parts == plan.parts and higher.n_tiles > plan.n_tiles


def test_a_networks_strips_are_high_enough_for_its_threads() -> None:
    few, many = (
        otfuse.plan((64, 4000, 900), "uint16", None, "rln", threads=threads) for threads in (1, 32)
    )
    assert many.parts["network"] > few.parts["network"]


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_network_by_tiles(device: str) -> None:
    shape = (640, 400, 300)
    whole = otfuse.plan(shape, "uint16", None, "rln", device)
    assert whole.seconds is None
    plan = otfuse.plan(shape, "uint16", None, "rln", device, whole.peak_bytes // 2, rate=100)
    assert plan.n_tiles > 1 and plan.peak_bytes <= whole.peak_bytes // 2
    assert {o for o, t, n in zip(plan.overlap, plan.tile, shape, strict=True) if t < n} == {40}
    assert plan.seconds is not None and plan.seconds > 1e-7 * np.prod(shape)
    assert str(plan).startswith(f"{plan.n_tiles} tiles of ") and "iterations" not in str(plan)
    with pytest.raises(ValueError, match="three extents of at least 2 for rln"):
        otfuse.plan((1, 40, 40), "uint16", None, "rln", device)


def test_a_rate_is_measured() -> None:
    assert 0.01 < otfuse.measure_rate((16, 64, 64)) < 10_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"algorithm": "magic"}, "algorithm must be one of 'richardson_lucy', 'rln', 'mrbcr'"),
        ({"device": "tpu"}, "device must be one of 'cpu', 'cuda', got 'tpu'"),
        ({"dtype": "complex64"}, "dtype must be one of real numbers, got 'complex64'"),
        ({"dtype": "words"}, "dtype must be one of real numbers"),
        ({"max_memory": 0}, "max_memory must be at least 1"),
        (
            {"max_memory": 10**6},
            r"must hold the work on a tile, got 1000000 bytes for .* takes \d+",
        ),
        (
            {"max_memory": 10**8, "boundary": "circular"},
            r"whole job, \d+ bytes, got .*'extended' can",
        ),
        ({"max_memory": 10**8, "acceleration": "biggs"}, "'biggs' cannot be cut"),
        ({"max_memory": 10**8, "psf": PSF.shape}, "give the psf itself"),
        (
            {"max_memory": 10**8, "stop": "gradient_consensus", "acceleration": None},
            "'gradient_consensus' cannot be cut into tiles, 'held_out' can",
        ),
        ({"stop": "never"}, "stop must be one of None, 'idiv', 'held_out'"),
        ({"psf": None}, "psf must be given for richardson_lucy"),
        (
            {"algorithm": "rln", "psf": None, "max_memory": 10**6},
            "must hold the work on a tile, got 1000000 bytes",
        ),
        (
            {"algorithm": "mrbcr", "psf": None, "max_memory": 10**6},
            r"must hold the work on a tile, got 1000000 bytes .* takes \d+ bytes",
        ),
    ],
)
def test_refused(options: dict[str, Any], words: str) -> None:
    options = {"dtype": "uint16", "psf": PSF, **options}
    with pytest.raises(ValueError, match=words):
        otfuse.plan(SHAPE, options.pop("dtype"), options.pop("psf"), **options)
