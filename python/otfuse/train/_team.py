# SPDX-License-Identifier: BSD-3-Clause
"""The processes that train together: one, or as many as `torchrun` started."""

from __future__ import annotations

import os
from types import TracebackType

import torch
from torch import Tensor, nn


class Team:
    """Joins the processes of `torchrun` for the length of a `with` block.

    Parameters
    ----------
    device : torch.device
        On GPUs each process takes the one of its local rank.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self._together = "TORCHELASTIC_RUN_ID" in os.environ and self.size > 1
        if not self._together:
            self.rank, self.size = 0, 1
        elif device.type == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        self.device = device

    def __enter__(self) -> Team:
        if self._together:
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            torch.distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._together:
            torch.distributed.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and speaks to the user."""
        return self.rank == 0

    def averaging(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over the processes."""
        if not self._together:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    def mean(self, value: Tensor) -> Tensor:
        """Of all processes."""
        if self._together:
            torch.distributed.all_reduce(value)
            value /= self.size
        return value

    def wait(self) -> None:
        """Until all are here."""
        if self._together:
            torch.distributed.barrier()
