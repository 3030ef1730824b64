# SPDX-License-Identifier: BSD-3-Clause
"""The loop that trains a network: Adam, validation and a checkpoint each epoch, early stopping."""

from __future__ import annotations

import errno
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from otfuse.train._team import Team
from otfuse.train.data import Pairs
from otfuse.train.state import RunFolder
from otfuse.train.validation import Validation


@dataclass(frozen=True)
class Settings:
    """How long and how to train.

    Attributes
    ----------
    steps, epoch : int
        Steps in all, and between two looks at the validation.
    batch : int
        Crops a step, on each process.
    crop : int
        Extent of a crop along each axis.
    learning_rate : float
    patience : int
        Epochs without a better validation loss after which training ends; 0 never ends it.
    n_validation : int
        Crops that are looked at each epoch.
    validation_share : float
        Share of the pairs that are kept for that.
    precision : {"full", "mixed"}
        "mixed" computes in bfloat16 where that is safe; on a GPU only.
    seed : int
        Decides the order of crops, their noise and turns, and the split.
    """

    steps: int = 2000
    epoch: int = 100
    batch: int = 32
    crop: int = 128
    learning_rate: float = 1e-3
    patience: int = 10
    n_validation: int = 16
    validation_share: float = 0.1
    precision: str = "full"
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be.

        Raises
        ------
        ValueError
        """
        for name in ("steps", "epoch", "batch", "crop", "n_validation"):
            if getattr(self, name) < 1:
                raise ValueError(f"train: {name} must be at least 1, got {getattr(self, name)}")
        if self.patience < 0:
            raise ValueError(f"train: patience must be at least 0, got {self.patience}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"train: seed must lie between 0 and 2^64 - 1, got {self.seed}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"train: learning rate must be positive, got {self.learning_rate:g}")
        if self.precision not in ("full", "mixed"):
            raise ValueError(f"train: precision must be full or mixed, got {self.precision!r}")


class Task(Protocol):
    """What one kind of network adds to the loop; a frozen dataclass of its options."""

    @property
    def name(self) -> str:
        """The kind, as in `--model`."""

    def crop(
        self, pairs: Pairs, extents: Sequence[int], at: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A pair of crops to learn from; `at` is the run's seed and the step, for orders."""

    def prepare(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, training: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """A pair of crops as the network takes them, without its axes of batch and channel."""

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Of a batch, (n, 1, ...)."""

    def restore(self, network: nn.Module, x: Tensor) -> Tensor:
        """What the validation compares with the target, (n, 1, ...)."""

    def rate(self, step: int, base: float) -> float:
        """Learning rate of a step, counted from 0."""


class Progress(Protocol):
    """Is told how far training is."""

    def skip(self, n: int) -> None:
        """An earlier run has done so many steps."""

    def advance(self, n: int = 1, text: str = "") -> None:
        """So many more steps are done."""

    def say(self, line: str) -> None:
        """A sentence for the user."""


def train(
    network: nn.Module,
    task: Task,
    pairs: Pairs,
    folder: str | Path,
    settings: Settings,
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train a network and keep in a folder all that is needed to go on.

    Each epoch writes `metrics.csv`, `curve.png`, `samples/step-*.png`, the state of the run, and
    `best.safetensors`, the weights of the lowest validation loss so far. Each step draws its
    crops from a generator seeded by its number: a resumed run is the undisturbed one, on the CPU
    and one number of threads bit for bit. Under `torchrun`, gradients are averaged over processes,
    each with crops of its own.

    Parameters
    ----------
    network : Module
        Has `save(path, overwrite)`; its `options`, if it has them, are settings of the run.
    task : Task
    pairs : Pairs
    folder : str or Path
    settings : Settings
    resume : bool
        Go on with the run in the folder, which must have the same settings; only `steps` and
        `patience` may differ.
    device : torch.device or str
    progress : Progress, optional

    Returns
    -------
    list of dict
        The rows of `metrics.csv`.

    Raises
    ------
    ValueError
        If settings or pairs cannot be trained with, or those of a resumed run differ.
    FileExistsError, FileNotFoundError
        If the folder holds a run and `resume` is not given, or none and it is.
    RuntimeError
        If the loss is not finite; the last good state is kept.
    """
    settings.check()
    if settings.precision == "mixed" and torch.device(device).type != "cuda":
        raise ValueError(f"train: precision must be full on {device}, got mixed")
    ndim = pairs.inputs[0].ndim if len(pairs) else 0
    crop = (settings.crop,) * ndim
    pairs.check(crop)
    learned, held = pairs.split(settings.validation_share, settings.seed)
    with Team(torch.device(device)) as team:
        run = _Run(network.to(team.device), task, settings, team, Path(folder))
        run.begin(resume)
        validation = Validation(held, task, settings.n_validation, crop, settings.seed)
        shown = progress if progress and team.leads else _Silent()
        shown.skip(run.step)
        run.go(learned, validation, crop, shown)
    return run.rows


class _Silent:
    def skip(self, n: int) -> None:
        """Say nothing."""

    def advance(self, n: int = 1, text: str = "") -> None:
        """Say nothing."""

    def say(self, line: str) -> None:
        """Say nothing."""


class _Loss(nn.Module):
    """Network and loss in one, so that averaging over processes sees one forward pass."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network, self._task = network, task

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self._task.loss(self.network, x, y)


class _Run:
    """State of a run between two steps."""

    def __init__(
        self, network: nn.Module, task: Task, settings: Settings, team: Team, folder: Path
    ) -> None:
        self.network, self.task, self.settings, self.team = network, task, settings, team
        self.folder = RunFolder(folder)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        self.objective = team.averaging(_Loss(network, task))
        self.step, self.rows = 0, list[dict[str, Any]]()
        self.best, self.since_best = math.inf, 0

    def begin(self, resume: bool) -> None:
        """Start anew in an empty folder, or go on where the run was."""
        if not resume:
            if self.folder.begun:
                raise FileExistsError(
                    errno.EEXIST,
                    "train: folder must not hold a run; give --resume, or another folder",
                    str(self.folder.path),
                )
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self.team.wait()
            return
        if not self.folder.begun:
            raise FileNotFoundError(
                errno.ENOENT, "train: run must exist to resume", str(self.folder.path)
            )
        kept = self.folder.load(self.network, self.optimizer)
        now = self._identity()
        for name, value in kept["identity"].items():
            if now.get(name) != value:
                raise ValueError(
                    f"train: {name} must be that of the run, {value}, got {now.get(name)}; "
                    "start another run to change it"
                )
        self.step, self.rows = kept["step"], kept["rows"]
        self.best, self.since_best = kept["best"], kept["since_best"]

    def _identity(self) -> dict[str, Any]:
        """What may not change when a run is resumed."""
        free = ("steps", "patience")
        task: dict[str, Any] = asdict(self.task)  # type: ignore[call-overload]
        settings = {k: v for k, v in asdict(self.settings).items() if k not in free}
        both = {**settings, **{f"{self.task.name} {k}": v for k, v in task.items()}}
        both |= {f"network {k}": v for k, v in getattr(self.network, "options", {}).items()}
        return dict(json.loads(json.dumps({**both, "processes": self.team.size})))

    def go(
        self, pairs: Pairs, validation: Validation, crop: tuple[int, ...], progress: Progress
    ) -> None:
        """Train to the last step, or until the validation loss no longer falls."""
        settings = self.settings
        while self.step < settings.steps and not 0 < settings.patience <= self.since_best:
            started, n = time.monotonic(), min(settings.epoch, settings.steps - self.step)
            self.network.train()
            total = torch.zeros((), device=self.team.device)
            for _ in range(n):
                total += self._one_step(pairs, crop)
                progress.advance()
            loss = float(self.team.mean(total / n))
            self._check_finite("loss", loss)
            self._end_epoch(validation, loss, time.monotonic() - started, progress)

    def _check_finite(self, name: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise RuntimeError(
                f"train: {name} must be finite, got {loss} before step {self.step}; the run is "
                "kept as it was, lower the learning rate"
            )

    def _one_step(self, pairs: Pairs, crop: tuple[int, ...]) -> Tensor:
        """One batch of crops, and one step of Adam; gives the loss."""
        rng = np.random.default_rng([self.settings.seed, self.step, self.team.rank])
        seed, step = self.settings.seed, self.step
        drawn = [
            self.task.prepare(*self.task.crop(pairs, crop, (seed, step), rng), rng, True)
            for _ in range(self.settings.batch)
        ]
        x, y = (
            torch.from_numpy(np.stack([pair[i] for pair in drawn]))[:, None].to(self.team.device)
            for i in range(2)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.task.rate(self.step, self.settings.learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        mixed = self.settings.precision == "mixed"
        with torch.autocast(self.team.device.type, torch.bfloat16, enabled=mixed):
            loss = self.objective(x, y)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def _end_epoch(
        self, validation: Validation, loss: float, seconds: float, progress: Progress
    ) -> None:
        """Validate on every process alike, write on the first."""
        self.network.eval()
        found = validation.measure(self.network, self.team.device)
        self._check_finite("validation loss", found.loss)
        improved = found.loss < self.best
        self.since_best = 0 if improved else self.since_best + 1
        self.best = min(self.best, found.loss)
        self.rows.append(
            {
                "step": self.step,
                "loss": loss,
                "validation_loss": found.loss,
                "psnr": found.psnr,
                "ssim": found.ssim,
                "learning_rate": self.task.rate(self.step - 1, self.settings.learning_rate),
                "seconds": round(seconds, 3),
            }
        )
        if self.team.leads:
            self._write(found, improved)
            progress.say(
                f"{'step':<12}{self.step}: loss {loss:.4g}, validation {found.loss:.4g}, "
                f"PSNR {found.psnr:.2f} dB, SSIM {found.ssim:.3f}{', best so far' * improved}"
            )
        self.team.wait()

    def _write(self, found: Any, improved: bool) -> None:
        from otfuse.train.figures import write_curves, write_samples

        folder, picture = self.folder.path, f"step-{self.step:06}.png"
        if improved:
            self.network.save(folder / "best.safetensors", overwrite=True)  # type: ignore[operator]
        (folder / "samples").mkdir(exist_ok=True)
        write_samples(folder / "samples" / picture, found.samples, f"step {self.step}")
        write_curves(folder / "curve.png", self.rows)
        self.folder.write_metrics(self.rows)
        kept = {
            "step": self.step,
            "best": self.best,
            "since_best": self.since_best,
            "identity": self._identity(),
            "rows": self.rows,
        }
        self.folder.save(self.network, self.optimizer, kept)
