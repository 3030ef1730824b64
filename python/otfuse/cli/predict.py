# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse predict`: a stack in, what a trained network makes of it out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from typer import Option

from otfuse.cli import _arguments as arg
from otfuse.cli._device import compute_of
from otfuse.cli._errors import UsageError
from otfuse.cli._models import MODELS, find_model, resolve
from otfuse.cli._options import as_typed, located
from otfuse.cli._predict_options import PredictOptions
from otfuse.cli._report import Report, in_time
from otfuse.cli.deconvolve import report_image, report_written
from otfuse.io import Stack, Written, check_target, provenance, read_stack, write_rows, write_stack
from otfuse.io.tf_checkpoint import find_tf_checkpoint
from otfuse.io.zarr_store import is_zarr, named_zarr

Weights = Annotated[
    Path, Option(metavar="PATH", help="A .safetensors file, or a TensorFlow checkpoint.")
]
ModelName = Annotated[str, Option(metavar="|".join(MODELS), help="Kind of network.")]
Tile = Annotated[
    int | None,
    Option(metavar="N", help="Pixels along a tile's edge; as many as memory allows unless told."),
]
Overlap = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Pixels that neighbours share; unless told "
        f"{', '.join(f'{model.overlap} for {name}' for name, model in MODELS.items())}.",
    ),
]
Normalize = Annotated[
    str | None,
    Option(
        metavar="image|percentile|tile",
        help="What becomes 0 and 1: lowest and highest value of each image, its percentiles 0.1 "
        "and 99.9 (of a volume: 0.01 and 99.5), or lowest and highest of each tile, as the authors "
        "of m-rBCR do. Unless told "
        f"{', '.join(f'{model.normalizations[0]} for {name}' for name, model in MODELS.items())}.",
    ),
]
Stitch = Annotated[
    str | None,
    Option(
        metavar="linear|published",
        help="How tiles of volumes are put together: blended, with the volume's scale (unless "
        "told), or as the authors of RLN do, each with its own.",
    ),
]
Scale = Annotated[
    Literal["image", "network"] | None,
    Option(
        "--range",
        help="Range of the result: the image's again, or the network's 0 to 1 (default with "
        "--normalize tile).",
    ),
]
SecondView = Annotated[
    str | None,
    Option(
        metavar="IMAGE",
        help="The other view, for a network of two: registered, and of the first one's extents.",
    ),
]
Verbose = Annotated[bool, Option("--verbose", help="Also measure how much tiles show.")]


def predict_command(
    image: arg.Image,
    output: arg.Output,
    weights: Weights,
    model: ModelName = "mrbcr",
    tile: Tile = None,
    overlap: Overlap = None,
    normalize: Normalize = None,
    scale: Scale = None,
    stitch: Stitch = None,
    second_view: SecondView = None,
    axes: arg.Axes = None,
    device: arg.Device = "auto",
    dtype: arg.Dtype = "float32",
    compression: arg.Compression = None,
    overwrite: arg.Overwrite = False,
    threads: arg.Threads = None,
    max_memory: arg.MaxMemory = None,
    verbose: Verbose = False,
    local_cluster: arg.LocalCluster = None,
    scheduler: arg.Scheduler = None,
) -> None:
    """Restore a stack by a trained network, each channel and time point.

    `--normalize tile --tile 128 --overlap 0` is what the authors of m-rBCR do.
    """
    kind, given = find_model("predict", model), dict(locals())
    given["image"] = located(image)
    given["second_view"] = None if second_view is None else located(second_view)
    given["tile"] = kind.tile if tile is None else tile
    given["overlap"] = kind.overlap if overlap is None else overlap
    given["normalize"] = normalize or kind.normalizations[0]
    given["scale"] = scale or ("network" if normalize == "tile" else "image")
    given["stitch"] = stitch or kind.stitches[0]
    run_prediction(PredictOptions(**given))


def run_prediction(options: PredictOptions) -> None:
    """Read, load the network, restore, write.

    Parameters
    ----------
    options : PredictOptions
    """
    started, report = time.monotonic(), Report()
    options.check()
    options = replace(options, compute=compute_of("predict", options, kernels=False))
    if named_zarr(options.output):
        from otfuse.cli._predict_zarr import predict_zarr

        predict_zarr(options)
        return
    if is_zarr(options.image):
        raise UsageError(
            f"predict: --output must end in .zarr where the image is an OME-Zarr, got "
            f"{options.output}; convert the result"
        )
    stack = read_stack(options.image, axes=options.axes, mmap=True)
    n_bytes = stack.data.size * np.dtype(options.dtype).itemsize
    check_target(options.output, overwrite=options.overwrite, n_bytes=n_bytes)
    report_image(stack, report)
    network = load_network(options, report).to(options.compute.device)
    counted = _Counted(options.dtype != "float32")
    written = _restore(options, network, stack, counted, report)
    report_written(written, options.dtype, stack, report)
    if counted.n_negative:
        share = counted.n_negative / counted.n_values
        report.notes([f"{counted.n_negative} values below 0 ({share:.2%}) set to 0"])
    report.row("time", in_time(time.monotonic() - started))


def _restore(
    options: PredictOptions, network: Any, stack: Stack, counted: _Counted, report: Report
) -> Written:
    """Restore and write, in one go where the model can and floats are wanted."""
    target: dict[str, Any] = {
        "like": stack, "provenance": make_record(options, stack), "overwrite": options.overwrite,
        "shape": stack.data.shape,
    }  # fmt: skip
    if options.kind.into and options.dtype == "float32":
        written: list[Written] = []
        with write_rows(options.output, written=written, **target) as file:
            resolve(options.kind.into)(options, network, stack, report, file)
        return written[0]
    blocks = counted.watch(resolve(options.kind.predict)(options, network, stack, report))
    return write_stack(options.output, blocks, dtype=options.dtype, **target)


class _Counted:
    """Sets what is below 0 to 0 where integers will be written, and counts it."""

    def __init__(self, wanted: bool) -> None:
        self._wanted, self.n_negative, self.n_values = wanted, 0, 0

    def watch(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            if self._wanted:
                self.n_negative += int(np.count_nonzero(block < 0))
                self.n_values += block.size
                block = np.maximum(block, 0)
            yield block


def load_network(options: PredictOptions, report: Report) -> Any:
    """The network with its weights, on the CPU."""
    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    network, device = options.kind.load(options.weights), options.compute.device
    count = sum(p.numel() for p in network.parameters())
    report.row("network", f"{options.model}, {count} weights from {options.weights}, on {device}")
    return network.eval()


def make_record(options: PredictOptions, stack: Stack) -> dict[str, Any]:
    """Provenance: what was asked for, and of which weights."""
    typed = {key: value for key, value in as_typed(options).items() if value is not None}
    return provenance(
        command="predict",
        input={
            "file": Path(options.image).name,
            "axes": stack.axes,
            "shape": list(stack.data.shape),
        },
        options=typed,
        device=options.compute.kind,
        weights_sha256=weights_digest(options.weights),
    )


def weights_digest(path: Path) -> str:
    """SHA-256 of the file that holds the weights, of a checkpoint that of its index.

    The index holds the checksums of all tensors.
    """
    file = path if path.suffix == ".safetensors" else find_tf_checkpoint(path)
    return hashlib.sha256(file.read_bytes()).hexdigest()
