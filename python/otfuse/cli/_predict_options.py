# SPDX-License-Identifier: BSD-3-Clause
"""The options of `otfuse predict`, and what can be checked of them without the image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from otfuse.cli._device import CPU, Compute
from otfuse.cli._errors import UsageError
from otfuse.cli._models import Model, find_model
from otfuse.cli._options import (
    check_apart,
    check_of_zarr,
    check_output,
    check_threads,
    check_workers,
    parse_memory,
)


@dataclass
class PredictOptions:
    """Arguments of `otfuse predict`, those left out replaced by what the model prefers."""

    image: Path | str
    output: Path
    weights: Path
    model: str
    tile: int
    overlap: int
    normalize: str
    scale: str
    stitch: str
    axes: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    compression: str | None = None
    threads: int | None = None
    max_memory: str | None = None
    overwrite: bool = False
    verbose: bool = False
    second_view: Path | str | None = None
    local_cluster: int | None = None
    scheduler: str | None = None
    compute: Compute = CPU  # not typed: what `device` was found to be

    @property
    def kind(self) -> Model:
        """The model of that name."""
        return find_model("predict", self.model)

    def check(self) -> None:
        """Refuse what is wrong whatever the image is."""
        if self.normalize not in self.kind.normalizations:
            raise UsageError(
                f"predict: --normalize must be one of {', '.join(self.kind.normalizations)} for "
                f"{self.model}, got {self.normalize}"
            )
        if self.stitch not in self.kind.stitches:
            raise UsageError(
                f"predict: --stitch must be one of {', '.join(self.kind.stitches)} for "
                f"{self.model}, got {self.stitch}"
            )
        if self.second_view is not None and (self.kind.ndim < 3 or self.stitch != "linear"):
            raise UsageError(
                "predict: --second-view must go with --model rln and --stitch linear, got "
                f"{self.model} and {self.stitch}"
            )
        if self.max_memory is not None:
            parse_memory(self.max_memory, "predict")
        planned = self.tile == self.kind.tile == 0
        if self.overlap < 0 or (self.tile <= self.overlap and not planned):
            raise UsageError(
                f"predict: --tile must exceed --overlap, and that be at least 0, got tile "
                f"{self.tile or 'none'} and overlap {self.overlap}; give both"
            )
        if self.normalize == "tile" and self.tile == 0:
            raise UsageError(
                "predict: --tile must be given with --normalize tile, on which the scale then "
                "depends, got none; the authors' is 128, with --overlap 0"
            )
        check_threads("predict", self.threads)
        check_output("predict", self.output)
        views = (view for view in (self.image, self.second_view) if view is not None)
        check_apart("predict", self.output, *views)
        check_of_zarr("predict", self.output, {"--compression": self.compression})
        check_workers("predict", self.output, self.local_cluster, self.scheduler)
