# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse convert-weights`: a published checkpoint in, a safetensors file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from otfuse.cli._errors import UsageError
from otfuse.cli._models import MODELS, find_model
from otfuse.cli._report import Report, in_bytes
from otfuse.io import check_target

Checkpoint = Annotated[
    Path, Argument(metavar="CKPT", help="TensorFlow checkpoint: its folder, .index or prefix.")
]
Output = Annotated[Path, Option("--output", "-o", metavar="W.safetensors", help="The result.")]
Model = Annotated[str, Option(metavar="|".join(MODELS), help="Whose weights they are.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace an existing file.")]


def convert_weights_command(
    checkpoint: Checkpoint, output: Output, model: Model = "mrbcr", overwrite: Overwrite = False
) -> None:
    """Convert published weights to safetensors, every byte of theirs verified."""
    kind = find_model("convert-weights", model)
    if output.suffix != ".safetensors":
        raise UsageError(f"convert-weights: --output must end in .safetensors, got {output}")
    check_target(output, overwrite=overwrite)
    network, report = kind.load(checkpoint), Report()
    network.save(output, overwrite=overwrite, source=checkpoint.name)
    report.row("network", f"{model}, {sum(p.numel() for p in network.parameters())} weights")
    n_tensors = len(network.state_dict())
    report.row("result", f"{output}: {n_tensors} tensors, {in_bytes(output.stat().st_size)}")
