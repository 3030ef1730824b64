# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark's own honesty: right contenders, checked results, correct sums."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from otfuse import bench, reference
from otfuse.bench import cases, measure, runner
from otfuse.bench.plain import PlainLoop, smooth_extent

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    bench.Entry("fft_convolve", (2, 12, 15), (4, 5)),
    bench.Entry("richardson_lucy", (3, 16, 14), (5, 4)),
    bench.Entry("richardson_lucy", (6, 9, 10), (5, 4, 3), boundary="extended"),
    bench.Entry("richardson_lucy", (4, 8, 10), (3, 4, 3), dtype="float64"),
)


def measured(seconds, name="richardson_lucy_8x8_float32_cpu"):
    one = {"cold_seconds": 2.5, "peak_bytes": 2**20, "error": 1e-7, "all_seconds": [seconds]}
    return {
        "name": name,
        "entry": {
            "op": "richardson_lucy",
            "shape": [64, 8, 8],
            "psf_shape": [3, 3],
            "boundary": "circular",
            "dtype": "float32",
        },
        "voxels": 4096,
        "ns_per_voxel": seconds / 4096 * 1e9,
        "bandwidth_share": 0.5,
        "ratios": {"plain": 4.0, "scikit-image": 16.0},
        "measured": {
            "otfuse": {**one, "iteration_seconds": seconds},
            "plain": {**one, "iteration_seconds": 4 * seconds},
        },
    }


def report(*seconds):
    machine = {
        "processor": "A processor",
        "instruction_set": "avx2",
        "threads": 2,
        "cores": 2,
        "copy_bytes_per_second": 5e10,
        "torch": "2.13.0",
        "otfuse": "0.1.0",
    }
    results = [measured(s, f"entry_{i}") for i, s in enumerate(seconds)]
    return {"machine": machine, "results": results}


@pytest.mark.parametrize(("extent", "expected"), [(1, 1), (11, 12), (118, 120), (121, 125)])
def test_smooth_extent(extent, expected):
    assert smooth_extent(extent) == expected


@pytest.mark.parametrize("boundary", ["circular", "extended"])
@pytest.mark.parametrize(("shape", "psf_shape"), [((9, 8), (4, 3)), ((2, 5, 7, 6), (3, 4, 5))])
def test_plain_loop_is_richardson_lucy(boundary, shape, psf_shape):
    entry = bench.Entry("richardson_lucy", shape, psf_shape, boundary, dtype="float64")
    image, psf = cases.sample(entry)
    expected = reference.richardson_lucy(image, psf, 4, boundary=boundary)
    result = PlainLoop.prepare(image, psf, boundary).run(4)
    assert runner.relative_error(result, expected) < 1e-12


def test_names():
    assert TINY[0].name == "fft_convolve_2x12x15_float32_cpu"
    assert TINY[2].name == "richardson_lucy_6x9x10_extended_float32_cpu"
    assert TINY[1].spatial == (16, 14)


def test_a_wrong_result_is_not_timed():
    with pytest.raises(RuntimeError, match="bench: otfuse must match the reference to 2e-05 on"):
        runner.checked_error(TINY[0], "otfuse", torch.ones(3), torch.full((3,), 1.01).double())
    with pytest.raises(RuntimeError, match="got nan"):
        runner.checked_error(TINY[0], "plain", torch.full((3,), torch.nan), torch.ones(3).double())


def test_iterations_are_differences(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])

    def run(n):
        clock[0] += 5.0 + 0.25 * n  # what a call costs once does not count

    times = measure.alternate({"one": run, "two": lambda n: (run(n), run(n))}, rounds=3)
    assert times["one"] == pytest.approx([0.25] * 3)
    assert times["two"] == pytest.approx([0.5] * 3)


def test_peak_memory():
    result, seconds, peak = measure.timed_with_peak(lambda: torch.ones(2**24).sum())
    assert result == 2**24
    assert seconds > 0
    assert peak is None or 2**25 < peak < 2**28


def test_run_entries(monkeypatch):
    monkeypatch.setattr(measure, "COPY_BYTES", 2**16)
    monkeypatch.setattr(measure, "ROUND_SECONDS", 1e-3)
    seen = []
    result = bench.run_entries(TINY, rounds=2, progress=seen.append)
    assert seen == [entry.name for entry in TINY]
    assert json.loads(json.dumps(result))["machine"]["threads"] == torch.get_num_threads()
    for entry, one in zip(TINY, result["results"], strict=True):
        assert one["name"] == entry.name
        assert one["ratios"]["plain"] > 0
        assert (one["bandwidth_share"] is None) == (entry.op == "fft_convolve")
    assert result["results"][2]["voxels"] >= 10 * 12 * 12
    lines = bench.markdown_table(result).splitlines()
    assert sum(line.startswith("| ") for line in lines) == 1 + len(TINY)
    assert bench.rich_table(result).row_count == len(TINY)


def test_table():
    lines = bench.markdown_table(report(0.002)).splitlines()
    assert lines[0].startswith("A processor, avx2, 2 threads on 2 cores, copy 50 GB/s")
    assert lines[4] == (
        "| richardson_lucy 64 of 8x8 | 2 ms | 488.28 | 8 ms | 4.0 | 50% "
        "| 2.5 s (2.5 s) | 1 MiB (1 MiB) | scikit-image 16.0 |"
    )


def test_compare_flags_five_per_cent():
    lines, slower = bench.compare(report(1.04, 0.5), report(1.0, 1.0))
    assert not slower
    assert lines[0] == "entry_0: 1 s -> 1.04 s (+4.0%)"
    lines, slower = bench.compare(report(1.06), report(1.0, 1.0))
    assert slower
    assert lines == ["entry_0: 1 s -> 1.06 s (+6.0%)  SLOWER"]


def load(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_keeps_what_is_around_the_table():
    with_table = load("table").with_table
    text = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n"
    once = with_table(text, "new")
    assert once == "before\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nafter\n"
    assert with_table(once, "new") == once
    with pytest.raises(ValueError, match=r"README\.md must hold"):
        with_table("no markers", "new")


def test_entries_are_what_the_readme_promises():
    entries = load("entry")
    names = [entry.name for entry in entries.ENTRIES]
    assert len(set(names)) == len(names)
    assert set(bench.SHORT) <= set(entries.ENTRIES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "bench: --rounds must be at least 1, got 0"),
        (["--threads", "-2"], "bench: --threads must be at least 1, got -2"),
        (["--threads", "100000"], "bench: --threads must be at most 1024, got 100000"),
        (["--json", "/no/such/folder/x.json"], "bench: --json must be in an existing folder"),
    ],
)
def test_command_refuses(arguments, message, capsys):
    from otfuse.cli import main

    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_command(monkeypatch, tmp_path, capsys):
    from otfuse.cli import main

    monkeypatch.setattr(measure, "COPY_BYTES", 2**16)
    monkeypatch.setattr(measure, "ROUND_SECONDS", 1e-3)
    monkeypatch.setattr(bench, "SHORT", TINY[:2])
    path = tmp_path / "result.json"
    assert main(["bench", "--rounds", "1", "--json", str(path)]) == 0
    assert "fft_convolve" in capsys.readouterr().out
    assert len(json.loads(path.read_text())["results"]) == 2
