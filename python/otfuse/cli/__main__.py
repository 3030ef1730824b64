# SPDX-License-Identifier: BSD-3-Clause
"""`python -m otfuse.cli`."""

import sys

from otfuse.cli import main

if __name__ == "__main__":
    sys.exit(main())
