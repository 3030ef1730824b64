# SPDX-License-Identifier: BSD-3-Clause
"""How well each method restores: simulated and real specimens, against iterations and time."""

from .again import measure_again
from .command import command_bar
from .files import load, save
from .report import markdown
from .run import CONDITIONS, SIZES, Condition, run_quality, time_again
from .scenes import SPECIMENS

__all__ = [
    "CONDITIONS",
    "SIZES",
    "SPECIMENS",
    "Condition",
    "command_bar",
    "load",
    "markdown",
    "measure_again",
    "run_quality",
    "save",
    "time_again",
]
