# SPDX-License-Identifier: BSD-3-Clause
"""Compare what ptxas says of each kernel with csrc/cuda/ptxas_budget.txt.

Usage: ptxas.py BUILD_LOG [--write]. Fails where a kernel spills more bytes than its line in the
budget allows; without a line, any; and where a compiler warns of the device code. An architecture
without lines is only named. --write makes the budget what the log says; lines of architectures that
the log has not are left alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BUDGET = Path(__file__).resolve().parents[1] / "csrc" / "cuda" / "ptxas_budget.txt"
HEADER = (
    "# architecture | registers | bytes spilled | kernel; written by .ci/ptxas.py --write\n"
    "# Kernels that are not here spill nothing.\n"
)
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
WARNING = re.compile(r"ptxas warning|csrc/(cuda|core)/\S+ warning")
SPILLS = re.compile(r"(\d+) bytes spill stores")
REGISTERS = re.compile(r"Used (\d+) registers")


def short_names(mangled: list[str]) -> dict[str, str]:
    """`RowPass<float, UpdateOp<float>, 2>` of each mangled name: the body of a phase_kernel."""
    text = subprocess.run(
        ["c++filt", *mangled], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    names = {}
    for symbol, name in zip(mangled, text, strict=True):
        name = re.sub(r"otfuse::cuda::|\((?:otfuse::cuda::)?(?:RowMode|ColumnMode)\)", "", name)
        body = re.search(r"phase_kernel<(.*)>\(", name)
        names[symbol] = (body[1] if body else name).strip()
    return names


def parse(log: str) -> dict[tuple[str, str], tuple[int, int]]:
    """(architecture, kernel) -> (registers, bytes spilled)."""
    found, key, spilled = {}, None, 0
    for line in log.splitlines():
        if entry := ENTRY.search(line):
            key = (entry[2], entry[1])
        elif spills := SPILLS.search(line):
            spilled = int(spills[1])
        elif key and (registers := REGISTERS.search(line)):
            found[key] = (int(registers[1]), spilled)
            key = None
    names = short_names(sorted({symbol for _, symbol in found}))
    return {(arch, names[symbol]): value for (arch, symbol), value in found.items()}


def read_budget() -> dict[tuple[str, str], tuple[int, int]]:
    """The budget, as parse gives it."""
    budget = {}
    for line in BUDGET.read_text().splitlines() if BUDGET.exists() else []:
        if not line.startswith("#"):
            arch, registers, spilled, kernel = (part.strip() for part in line.split("|"))
            budget[arch, kernel] = (int(registers), int(spilled))
    return budget


def main() -> int:
    """Check, or write with --write."""
    log = Path(sys.argv[1]).read_text()
    built, budget = parse(log), read_budget()
    if not built:
        print(f"{sys.argv[1]}: no output of ptxas found")
        return 1
    if "--write" in sys.argv:
        kept = {k: v for k, v in budget.items() if k[0] not in {arch for arch, _ in built}}
        lines = [
            f"{a} | {r:3} | {s:4} | {k}\n"
            for (a, k), (r, s) in sorted((kept | built).items())
            if s > 0
        ]
        BUDGET.write_text(HEADER + "".join(lines))
        return 0
    kept = {arch for arch, _ in budget}
    for arch in sorted({arch for arch, _ in built} - kept):
        print(f"{arch}: no budget yet; make cuda-budget writes one")
    wrong = [line.strip() for line in log.splitlines() if WARNING.search(line)]
    for (arch, kernel), (registers, spilled) in sorted(built.items()):
        _, allowed = budget.get((arch, kernel), (0, 0))
        if arch in kept and spilled > allowed:
            wrong.append(
                f"{arch} {kernel}: {spilled} B spilled at {registers} registers, not {allowed}"
            )
    print("\n".join(wrong) or f"{len(built)} kernels within {BUDGET.name}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
