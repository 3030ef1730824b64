# SPDX-License-Identifier: BSD-3-Clause
"""Where a command computes: the CPU or a GPU, and what it may take of a GPU's memory."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from otfuse.cli._errors import UsageError
from otfuse.cli._report import Report, in_bytes

_SHARE_OF_FREE = 0.75


class Compute(NamedTuple):
    """Where images and tiles are computed.

    Attributes
    ----------
    device : str
        `cpu`, or `cuda` with or without a number.
    free : int
        Bytes that the work may take of a GPU's memory.
    name : str
        Of the GPU.
    away : bool
        Whether it is none of this machine's.
    """

    device: str = "cpu"
    free: int = 0
    name: str = ""
    away: bool = False

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.partition(":")[0]

    @property
    def on_gpu(self) -> bool:
        """Whether that is none of the host's processors."""
        return self.kind == "cuda"

    @property
    def here(self) -> str:
        """The device for what is computed before workers are."""
        return "cpu" if self.away else self.device

    def counted(self, here: int, there: int, allowed: int) -> int:
        """Bytes `here`, or `there` where those weigh more.

        Shares of the GPU's memory count as such shares of what is `allowed` here.
        """
        return max(here, there * allowed // max(1, self.free)) if self.on_gpu else here


CPU = Compute()


def choose_device(command: str, name: str, *, kernels: bool = False) -> Any:
    """The device of a name; "auto" is a GPU where there is one.

    Parameters
    ----------
    command : str
        Named in errors.
    name : str
        `auto`, `cpu`, `cuda` or `cuda:1`.
    kernels : bool
        Whether it takes otfuse's own; a network does without, by plain torch.

    Raises
    ------
    UsageError  if the name is none, there is no such device here, or none that otfuse knows.
    """
    import torch

    number = _number(command, name)
    if name == "cpu":
        return torch.device(name)
    count, known = _gpus()
    if name == "auto":
        return torch.device("cuda" if (known if kernels else count) else "cpu")
    if (number or 0) >= count:
        there = f"{count} GPUs were" if count > 1 else "1 GPU was" if count else "no GPU was"
        raise UsageError(f"{command}: --device must be there, got {name}, and {there} found")
    if kernels and not known:
        raise UsageError(
            f"{command}: --device must be one that otfuse was built for, got {name} and a build "
            "without CUDA; reinstall otfuse with nvcc on the PATH, or give --device cpu"
        )
    return torch.device(name)


def _number(command: str, name: str) -> int | None:
    """Of a GPU; None where there is none in the name."""
    found = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", name)
    if found is None:
        raise UsageError(f"{command}: --device must be auto, cpu or cuda, got {name}")
    return None if found[1] is None else int(found[1])


def _gpus() -> tuple[int, int]:
    """GPUs that torch finds, and those of them that otfuse has kernels for."""
    import torch

    from otfuse.functional._devices import gpu_count

    return torch.cuda.device_count() if torch.cuda.is_available() else 0, gpu_count()


def free_share(device: Any) -> int:
    """Bytes of a GPU's memory that may be taken."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(_SHARE_OF_FREE * free)


def find_compute(command: str, name: str, workers: int = 1, *, kernels: bool = True) -> Compute:
    """Where a job computes, on this machine.

    Parameters
    ----------
    command, name, kernels
        As for `choose_device`.
    workers : int
        Processes that share the GPUs.

    Raises
    ------
    UsageError  as `choose_device`.
    """
    import torch

    device = choose_device(command, name, kernels=kernels)
    if device.type == "cpu":
        return CPU
    free, title = free_share(device), torch.cuda.get_device_name(device)
    if workers > 1:
        count = _gpus()[kernels]
        free = min(free_share(torch.device("cuda", i)) for i in range(count))
        free //= -(-workers // count)
    return Compute(str(device), free, title)


def compute_of(command: str, options: Any, *, kernels: bool = True) -> Compute:
    """Where the job of a command computes: here, or where its workers are.

    Parameters
    ----------
    command : str
    options : DeconvolveOptions or PredictOptions
        Checked.
    kernels : bool
        As for `choose_device`; a scheduler's workers always need them.

    Raises
    ------
    UsageError  as `choose_device`, of all workers.
    """
    name, address = options.device, options.scheduler
    if (options.local_cluster or address) and _number(command, name) is not None:
        raise UsageError(
            f"{command}: --device must be without a number with --local-cluster or --scheduler, "
            f"got {name}; each worker has a GPU of its own"
        )
    if address is None or name == "cpu":
        return find_compute(command, name, options.local_cluster or 1, kernels=kernels)
    from otfuse.jobs import cluster

    with cluster.scheduler(address) as client:
        free = cluster.free_on_gpus(client)
    without = free.count(0)
    if not without:
        return Compute("cuda", int(_SHARE_OF_FREE * min(free)), f"{len(free)} workers'", True)
    if name == "auto":
        return CPU
    raise UsageError(
        f"{command}: --device must be there for every worker, got {name}, and {without} of "
        f"{len(free)} have no GPU that otfuse was built for"
    )


def foreseen_compute(command: str, name: str) -> Compute:
    """Where a job would compute; a GPU that is not here has nothing free.

    Raises
    ------
    UsageError  if the name is none.
    """
    number, (_, known) = _number(command, name), _gpus()
    here = name in ("auto", "cpu") or (number or 0) < known
    return find_compute(command, name) if here else Compute(name)


def report_compute(compute: Compute, report: Report) -> None:
    """Print where it is computed, and why not on a GPU that is there."""
    if compute.on_gpu:
        memory = in_bytes(compute.free)
        report.row("device", f"{compute.device}: {compute.name}, {memory} of its memory")
        return
    report.row("device", "cpu")
    count, known = _gpus()
    if count > known:
        report.notes(["otfuse was built without CUDA: reinstall it with nvcc for the GPU here"])
