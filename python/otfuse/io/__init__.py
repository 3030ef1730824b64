# SPDX-License-Identifier: BSD-3-Clause
"""Files: TIFF stacks and OME-Zarr with their axes, voxel size, optics and provenance."""

from otfuse.io.camera import Saturation, auto_background, find_saturation, percentile
from otfuse.io.convert import convert
from otfuse.io.mapped import release_pages
from otfuse.io.percentiles import streamed_percentiles
from otfuse.io.provenance import find_provenance, provenance
from otfuse.io.read import read_stack
from otfuse.io.rows import RowFile, write_rows
from otfuse.io.stack import Optics, Stack
from otfuse.io.target import check_folder, check_target
from otfuse.io.tf_checkpoint import read_tf_checkpoint
from otfuse.io.volume import ChunkError, Volume, open_volume
from otfuse.io.weights import read_weights, write_weights
from otfuse.io.write import Written, write_stack
from otfuse.io.zarr_write import create_volume
from otfuse.io.zarr_writer import VolumeWriter, reopen_volume

__all__ = [
    "ChunkError",
    "Optics",
    "RowFile",
    "Saturation",
    "Stack",
    "Volume",
    "VolumeWriter",
    "Written",
    "auto_background",
    "check_folder",
    "check_target",
    "convert",
    "create_volume",
    "find_provenance",
    "find_saturation",
    "open_volume",
    "percentile",
    "provenance",
    "read_stack",
    "read_tf_checkpoint",
    "streamed_percentiles",
    "read_weights",
    "release_pages",
    "reopen_volume",
    "write_rows",
    "write_stack",
    "write_weights",
]
