# SPDX-License-Identifier: BSD-3-Clause
"""Who may import whom: the arrows between the rooms of the package and of the C++ sources."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "otfuse"
CSRC = ROOT / "csrc"

# room -> rooms of ours that it may import. Its own files are always allowed. `otfuse` is what
# the package re-exports at its top. A new room or top-level file gets a line here.
ARROWS = {
    "_C": set(),
    "_background": set(),
    "_checks": set(),
    "_config": {"_C"},
    "_preview": set(),
    "metrics": {"functional"},
    "classical": {"functional", "_checks"},
    "ops": {"_C", "_config"},
    "functional": {"ops", "_background", "_checks", "_config"},
    "reference": set(),
    "psf": {"functional", "_checks"},
    "simulate": {"functional", "psf", "_checks"},
    "io": {"_background"},
    "nn": {"functional", "io", "_checks"},
    "tiling": {"functional", "_checks"},
    "jobs": {"tiling", "io", "_background"},
    "dask": {"functional", "tiling", "_checks"},
    "train": {"nn", "functional", "simulate", "io", "metrics", "_checks"},
    "bench": {"otfuse", "reference", "nn", "psf", "simulate", "metrics", "classical", "io"},
}
ARROWS["otfuse"] = set(ARROWS) - {"bench", "jobs", "train"}
ARROWS["cli"] = set(ARROWS)

# room -> the only packages of others that it may import besides the standard library.
THIRD_PARTY = {
    "ops": {"torch"},
    "reference": {"torch"},
    "psf": {"torch"},
    "simulate": {"torch"},
    "metrics": {"torch"},
}

CSRC_ARROWS = {
    "core": {"core"},
    "cpu": {"core", "cpu"},
    "cuda": {"core", "cuda"},
    "bind": {"core", "cpu", "cuda", "bind"},
}
FORBIDDEN_TEXT = {
    **{room: r"torch/|ATen/|c10/|pybind11/|Python\.h" for room in ("core", "cpu", "cuda")},
    "bind": r"torch/|ATen/|c10/",
}


def room_of(module: str) -> str:
    """`otfuse.cli.demo` -> cli, `otfuse` -> otfuse."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def modules_imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of all that is imported anywhere in the file, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            if base == "otfuse":  # each name may be a room, or something re-exported
                for alias in node.names:
                    if alias.name != "__version__":  # provenance may say which version we are
                        yield f"otfuse.{alias.name}" if alias.name in ARROWS else "otfuse"
            else:
                yield base


def broken_arrows(source: str, room: str, package: str) -> list[str]:
    """What a file of `room`, inside the package `package`, imports but may not."""
    if room not in ARROWS:
        return [f"{room} has no line in ARROWS"]
    broken = []
    for module in modules_imported(ast.parse(source), package):
        top = module.split(".")[0]
        if top == "otfuse":
            other = room_of(module)
            if other != room and other not in ARROWS[room]:
                broken.append(f"{room} -> {other}")
        elif top in {"tests", "bench"} or (
            room in THIRD_PARTY
            and top not in THIRD_PARTY[room]
            and top not in sys.stdlib_module_names
        ):
            broken.append(f"{room} -> {top}")
    return broken


def broken_includes(source: str, room: str) -> list[str]:
    """What a C++ file of `room` includes or names but may not."""
    included = re.findall(r'^\s*#\s*include\s*"(\w+)/', source, re.MULTILINE)
    broken = [f"{room} -> {other}" for other in included if other not in CSRC_ARROWS[room]]
    return broken + [f"{room} -> {text}" for text in re.findall(FORBIDDEN_TEXT[room], source)]


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def cpp_files() -> list[Path]:
    return sorted(
        path for path in CSRC.rglob("*.*") if path.suffix in {".hpp", ".cpp", ".cu", ".cuh"}
    )


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_arrows(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    room = "otfuse" if parts == ("__init__",) else parts[0]
    package = ".".join(("otfuse", *parts[:-1]))
    assert broken_arrows(path.read_text(encoding="utf-8"), room, package) == []


@pytest.mark.parametrize("path", cpp_files(), ids=lambda p: str(p.relative_to(CSRC)))
def test_cpp_arrows(path):
    room = path.relative_to(CSRC).parts[0]
    assert broken_includes(path.read_text(encoding="utf-8"), room) == []


def test_something_is_looked_at():
    assert len(python_files()) > 10
    assert len(cpp_files()) > 5


@pytest.mark.parametrize(
    ("source", "room", "package", "expected"),
    [
        ("from otfuse import _C", "functional", "otfuse.functional", ["functional -> _C"]),
        ("from .. import _C", "functional", "otfuse.functional", ["functional -> _C"]),
        ("from .._C import plan", "functional", "otfuse.functional", ["functional -> _C"]),
        ("import otfuse.cli.demo", "io", "otfuse.io", ["io -> cli"]),
        ("from otfuse import fft_convolve", "ops", "otfuse.ops", ["ops -> otfuse"]),
        (
            "def f():\n    from ..functional import wiener",
            "ops",
            "otfuse.ops",
            ["ops -> functional"],
        ),
        ("import numpy", "reference", "otfuse.reference", ["reference -> numpy"]),
        ("import bench.run", "cli", "otfuse.cli", ["cli -> bench"]),
        ("import math", "attic", "otfuse.attic", ["attic has no line in ARROWS"]),
        ("import math, torch\nfrom . import _grids", "reference", "otfuse.reference", []),
        ("from ..ops.fft_convolve import apply", "functional", "otfuse.functional", []),
        ("from ... import richardson_lucy", "cli", "otfuse.cli.parts", []),
    ],
)
def test_checker_finds_bad_imports(source, room, package, expected):
    assert broken_arrows(source, room, package) == expected


@pytest.mark.parametrize(
    ("source", "room", "expected"),
    [
        ("#include <torch/extension.h>", "cpu", ["cpu -> torch/"]),
        ("#include <pybind11/pybind11.h>", "core", ["core -> pybind11/"]),
        ('#  include "cpu/line_plan.hpp"', "core", ["core -> cpu"]),
        ('#include "cuda/check.hpp"', "cpu", ["cpu -> cuda"]),
        ("#include <torch/extension.h>", "bind", ["bind -> torch/"]),
        ('#include "core/shape.hpp"\n#include <pybind11/stl.h>', "bind", []),
    ],
)
def test_checker_finds_bad_includes(source, room, expected):
    assert broken_includes(source, room) == expected
