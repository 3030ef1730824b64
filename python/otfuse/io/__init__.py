# SPDX-License-Identifier: BSD-3-Clause
"""Files: TIFF stacks with their axes, voxel size, optics and provenance."""

from otfuse.io.camera import Saturation, auto_background, find_saturation, percentile
from otfuse.io.percentiles import streamed_percentiles
from otfuse.io.provenance import find_provenance, provenance
from otfuse.io.read import read_stack
from otfuse.io.rows import RowFile, write_rows
from otfuse.io.stack import Optics, Stack
from otfuse.io.target import check_target
from otfuse.io.tf_checkpoint import read_tf_checkpoint
from otfuse.io.weights import read_weights, write_weights
from otfuse.io.write import Written, write_stack

__all__ = [
    "Optics",
    "RowFile",
    "Saturation",
    "Stack",
    "Written",
    "auto_background",
    "check_target",
    "find_provenance",
    "find_saturation",
    "percentile",
    "provenance",
    "read_stack",
    "read_tf_checkpoint",
    "streamed_percentiles",
    "read_weights",
    "write_rows",
    "write_stack",
    "write_weights",
]
