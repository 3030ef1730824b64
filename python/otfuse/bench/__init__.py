# SPDX-License-Identifier: BSD-3-Clause
"""Timing of the engine against plain torch and other packages, each result checked first."""

from .entries import SHORT, Entry
from .report import compare, markdown_table, rich_table
from .runner import run_entries

__all__ = ["SHORT", "Entry", "compare", "markdown_table", "rich_table", "run_entries"]
