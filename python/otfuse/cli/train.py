# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse train`: pairs of images, or simulated ones, in; a trained network out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from otfuse.cli import _arguments as arg
from otfuse.cli._device import choose_device
from otfuse.cli._errors import UsageError
from otfuse.cli._models import MODELS, find_model, resolve
from otfuse.cli._report import Report, by_extents, in_time
from otfuse.cli._steps import Steps
from otfuse.cli._train_options import TrainOptions, read_psf, sampling

_DATA, _NET, _LOOP = "Data", "Network and loss", "Training"

Model = Annotated[str, Argument(metavar="|".join(MODELS), help="Kind of network.")]
Output = Annotated[Path, Option("--output", "-o", metavar="RUN", help="Folder of the run.")]
Input = Annotated[
    Path | None, Option(metavar="DIR", help="TIFFs to restore.", rich_help_panel=_DATA)
]
Target = Annotated[
    Path | None,
    Option(metavar="DIR", help="What they should become, same names.", rich_help_panel=_DATA),
]
Simulate = Annotated[
    str | None,
    Option(metavar="mixed|filaments|shells|beads", help="Specimens.", rich_help_panel=_DATA),
]
PsfFile = Annotated[
    Path | None, Option(metavar="PSF.tif", help="What blurs them.", rich_help_panel=_DATA)
]
Count = Annotated[int, Option(metavar="N", help="Simulated images.", rich_help_panel=_DATA)]
Size = Annotated[int | None, Option(metavar="N", help="Their extent.", rich_help_panel=_DATA)]
Photons = Annotated[
    float, Option(metavar="N", help="In the brightest voxel.", rich_help_panel=_DATA)
]
Background = Annotated[float, Option(metavar="N", help="Photons anywhere.", rich_help_panel=_DATA)]
ReadNoise = Annotated[
    float | None, Option(metavar="N", help="Of the camera, in photons.", rich_help_panel=_DATA)
]
Validation = Annotated[
    float, Option(metavar="SHARE", help="Pairs kept to validate.", rich_help_panel=_DATA)
]
Weights = Annotated[
    Path | None, Option(metavar="PATH", help="Where to start from.", rich_help_panel=_NET)
]
Frequency = Annotated[
    bool,
    Option("--frequency", help="Frequency blocks, which know --psf.", rich_help_panel=_NET),
]
Channels = Annotated[int, Option(metavar="N", help="Of those blocks.", rich_help_panel=_NET)]
Bands = Annotated[int, Option(metavar="N", help="Octaves they tell apart.", rich_help_panel=_NET)]
Spectrum = Annotated[
    Literal["plane", "line"],
    Option(help="Of the loss: of planes, or of lines as published.", rich_help_panel=_NET),
]
Noise = Annotated[
    float, Option(metavar="S", help="Added to inputs, at most S / 2.", rich_help_panel=_NET)
]
Turn = Annotated[
    bool | None,
    Option(
        "--turn/--no-turn",
        help="Flip and rotate crops; by default unless that changes a PSF that the network knows.",
        rich_help_panel=_NET,
    ),
]
Steps_ = Annotated[
    int | None, Option("--steps", metavar="N", help="In all.", rich_help_panel=_LOOP)
]
Epoch = Annotated[
    int, Option(metavar="N", help="Steps between validations.", rich_help_panel=_LOOP)
]
Batch = Annotated[int | None, Option(metavar="N", help="Crops a step.", rich_help_panel=_LOOP)]
Crop = Annotated[int | None, Option(metavar="N", help="Extent of a crop.", rich_help_panel=_LOOP)]
Rate = Annotated[float | None, Option("--lr", metavar="R", help="Adam's.", rich_help_panel=_LOOP)]
Patience = Annotated[
    int | None,
    Option(
        metavar="N", help="Epochs without progress before the end; 0: none.", rich_help_panel=_LOOP
    ),
]
Precision = Annotated[
    Literal["auto", "full", "mixed"],
    Option(help="auto: mixed on a GPU.", rich_help_panel=_LOOP),
]
Seed = Annotated[int, Option(metavar="N", help="Same seed, same run.", rich_help_panel=_LOOP)]
Resume = Annotated[bool, Option("--resume", help="Go on with RUN.", rich_help_panel=_LOOP)]


def train_command(
    model: Model,
    output: Output,
    input: Input = None,
    target: Target = None,
    simulate: Simulate = None,
    psf: PsfFile = None,
    count: Count = 32,
    size: Size = None,
    photons: Photons = 200.0,
    background: Background = 10.0,
    read_noise: ReadNoise = None,
    validation: Validation = 0.1,
    frequency: Frequency = False,
    channels: Channels = 16,
    bands: Bands = 4,
    weights: Weights = None,
    spectrum: Spectrum = "plane",
    noise: Noise = 0.05,
    turn: Turn = None,
    steps: Steps_ = None,
    epoch: Epoch = 100,
    batch: Batch = None,
    crop: Crop = None,
    learning_rate: Rate = None,
    patience: Patience = None,
    precision: Precision = "auto",
    seed: Seed = 0,
    resume: Resume = False,
    device: arg.Device = "auto",
    threads: arg.Threads = None,
) -> None:
    """Train a network on paired TIFFs, or on simulated specimens seen through your PSF.

    Size, steps, batch, crop, learning rate and patience are by default what suits the network: 256,
    2000, 32, 128, 0.001 and 10 for m-rBCR; for RLN as published: 128, 10000, 4, 64, 0.015 and 0.

    RUN gets the best weights, a table and a curve of the loss, and pictures of the validation;
    `torchrun` trains on several GPUs.
    """
    typed = {name: value for name, value in locals().items() if value is not None}
    run_training(TrainOptions(**{**find_model("train", model).training, **typed}))


def run_training(options: TrainOptions) -> None:
    """Gather the pairs, build the network, train.

    Parameters
    ----------
    options : TrainOptions
    """
    import torch

    from otfuse.train import Settings, train

    started, report = time.monotonic(), Report()
    kind = find_model("train", options.model)
    if not kind.trainee:
        raise UsageError(f"train: --model must be one that can be trained, got {options.model}")
    options.check()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = choose_device("train", options.device)
    precision = options.precision
    if precision == "auto":
        precision = "mixed" if device.type == "cuda" else "full"
    settings = Settings(
        steps=options.steps,
        epoch=options.epoch,
        batch=options.batch,
        crop=options.crop,
        learning_rate=options.learning_rate,
        patience=options.patience,
        validation_share=options.validation,
        precision=precision,
        seed=options.seed,
    )
    settings.check()
    torch.manual_seed(options.seed)
    network, task = resolve(kind.trainee)(options)
    pairs = _pairs(options, kind.ndim)

    leads = os.environ.get("RANK", "0") == "0"
    if leads:
        weights = sum(p.numel() for p in network.parameters())
        report.row("data", f"{len(pairs)} pairs, the first {by_extents(pairs.inputs[0].shape)}")
        report.row(
            "network", f"{options.model}, {weights} weights, on {device}, {precision} precision"
        )
    with Steps(settings.steps, "steps") as steps:
        rows = train(
            network,
            task,
            pairs,
            options.output,
            settings,
            resume=options.resume,
            device=device,
            progress=steps,
        )
    if leads:
        best = min(rows, key=lambda row: row["validation_loss"])
        report.row("result", f"{options.output / 'best.safetensors'}: of step {best['step']}")
        report.row("time", in_time(time.monotonic() - started))


def _pairs(options: TrainOptions, ndim: int) -> Any:
    from otfuse.train import paired_stacks, simulated_pairs

    if options.input is not None and options.target is not None:
        return paired_stacks(options.input, options.target, ndim=ndim)
    assert options.simulate is not None and options.psf is not None
    return simulated_pairs(
        options.simulate,
        options.count,
        (options.size,) * ndim,
        read_psf(options.psf, ndim),
        photons=options.photons,
        background=options.background,
        read_noise=options.read_noise,
        voxel=sampling(options.psf) if ndim == 3 else (1.0, 1.0, 1.0),
        seed=options.seed,
    )
