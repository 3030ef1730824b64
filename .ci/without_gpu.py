# SPDX-License-Identifier: BSD-3-Clause
"""A build with CUDA, imported where there is no driver: it says so wherever it is asked to run."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from otfuse import _C
from otfuse.ops._device import _shared_bytes


def refused(words: str, call: Callable[..., object], *arguments: object) -> bool:
    """Whether a call raises RuntimeError with these words."""
    try:
        call(*arguments)
    except RuntimeError as error:
        print(error)
        return words in str(error)
    return False


def main() -> int:
    """1 if something is not as it should be."""
    if _C.cuda is None:
        print("built without CUDA")
        return 1
    if _C.cuda.device_count():
        print("not checked: there is a GPU")
        return 0
    values = torch.ones(8)
    launch = (False, 8, *[values.data_ptr()] * 2, 0, values.data_ptr(), _C.cuda.Queue(0, 0))
    clear = refused("0 devices; check the driver", _shared_bytes, 0)
    clear &= refused("CUDA", _C.cuda.rl_update, *launch)
    return int(not clear)


if __name__ == "__main__":
    sys.exit(main())
