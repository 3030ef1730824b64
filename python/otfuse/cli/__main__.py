# SPDX-License-Identifier: BSD-3-Clause
"""`python -m otfuse.cli`."""

from otfuse.cli import run

if __name__ == "__main__":
    run()
