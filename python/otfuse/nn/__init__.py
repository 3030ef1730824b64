# SPDX-License-Identifier: BSD-3-Clause
"""Networks: modules that own parameters."""

from otfuse.nn.frequency_block import FrequencyBlock
from otfuse.nn.mrbcr import MRBCR
from otfuse.nn.mrbcr_loss import mrbcr_loss
from otfuse.nn.rln import RLN
from otfuse.nn.rln_loss import rln_loss

__all__ = ["FrequencyBlock", "MRBCR", "RLN", "mrbcr_loss", "rln_loss"]
