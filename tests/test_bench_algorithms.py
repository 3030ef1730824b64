# SPDX-License-Identifier: BSD-3-Clause
"""The table of variants: each runs, is set against a plain iteration, and is held to its bar."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from otfuse import bench

BENCH = Path(__file__).resolve().parents[1] / "bench"
TINY = (
    bench.Entry("richardson_lucy", (2, 12, 14), (5, 4)),
    bench.Entry("richardson_lucy", (4, 9, 8), (3, 4, 3), boundary="extended"),
)


@pytest.fixture
def algorithms(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("bench_algorithms", BENCH / "algorithms.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ENTRIES", TINY)
    return module


def test_writes_what_it_prints(
    algorithms: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["algorithms.py", "--rounds", "1", "--output", str(output)])
    assert algorithms.main() == 0
    results = json.loads(output.read_text())["results"]
    printed = capsys.readouterr().out
    for entry, result in zip(TINY, results, strict=True):
        names = list(algorithms.extra_transforms(entry))
        assert [row["variant"] for row in result["rows"]] == names
        assert result["rows"][0]["ratio"] == 1
        assert all(f"| {name} |" in printed for name in names)
    again = [*sys.argv, "--filter", TINY[1].name]
    monkeypatch.setattr(sys, "argv", again)
    assert algorithms.main() == 0
    first, second = json.loads(output.read_text())["results"]
    assert first == results[0]
    assert second != results[1]


def test_a_psf_that_varies_is_counted_by_its_tiles(algorithms: ModuleType) -> None:
    flat, whole = (algorithms.extra_transforms(entry) for entry in TINY)
    assert "depth-varying, 3" not in flat
    assert whole["space-varying, 2x2"] > 4


def test_what_is_over_its_bar_is_said_to_be(algorithms: ModuleType) -> None:
    row = {"iteration_seconds": 0.01, "extra_transforms": 0, "bar": 1.15}
    rows = [
        {**row, "variant": "plain", "ratio": 1.0},
        {**row, "variant": "good", "ratio": 1.1},
        {**row, "variant": "slow", "ratio": 1.2},
    ]
    lines = algorithms.table({"results": [{"name": "tiny", "rows": rows}]}).splitlines()
    assert lines[-2].endswith("| 1.10 | 1.15 |")
    assert lines[-1].endswith("| 1.20 | 1.15 (over) |")
