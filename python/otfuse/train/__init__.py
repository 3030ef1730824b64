# SPDX-License-Identifier: BSD-3-Clause
"""Training: pairs of images, the loop that networks share, and what each of them adds."""

from otfuse.train.data import SPECIMENS, Pairs, paired_stacks, simulated_pairs
from otfuse.train.loop import Progress, Settings, Task, train
from otfuse.train.mrbcr import MrbcrTask
from otfuse.train.rln import RlnTask

__all__ = [
    "SPECIMENS",
    "MrbcrTask",
    "Pairs",
    "Progress",
    "RlnTask",
    "Settings",
    "Task",
    "paired_stacks",
    "simulated_pairs",
    "train",
]
