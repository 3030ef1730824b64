# SPDX-License-Identifier: BSD-3-Clause
"""Networks: modules that own parameters."""

from otfuse.nn.rln import RLN
from otfuse.nn.rln_loss import rln_loss

__all__ = ["RLN", "rln_loss"]
