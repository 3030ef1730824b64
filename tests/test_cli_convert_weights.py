# SPDX-License-Identifier: BSD-3-Clause
"""`otfuse convert-weights` on a checkpoint made up in the published layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cli_helpers import CommandLine
from mrbcr_checkpoint import write_mrbcr_checkpoint
from otfuse.nn import MRBCR


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    return CommandLine(capsys, tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    write_mrbcr_checkpoint(folder / "ckpt-1")
    return folder


def test_converts(cli: CommandLine, checkpoint: Path) -> None:
    out = cli.folder / "w.safetensors"
    done = cli("convert-weights", checkpoint, "-o", out)
    assert done.code == 0, done.err
    assert "236630 weights" in done.out and "296 tensors" in done.out
    want, have = (MRBCR.from_pretrained(path).state_dict() for path in (checkpoint, out))
    assert list(want) == list(have)
    assert all(torch.equal(want[name], have[name]) for name in want)
    assert all(np.ptp(v.numpy()) > 0 for v in want.values() if v.numel() > 1)
    cli("convert-weights", checkpoint, "-o", out).failed(2, "exists", "--overwrite")
    assert cli("convert-weights", checkpoint, "-o", out, "--overwrite").code == 0


def test_bad_input(cli: CommandLine, checkpoint: Path) -> None:
    out = cli.folder / "w.safetensors"
    cli("convert-weights", cli.folder / "none", "-o", out).failed(2, "no .index file")
    cli("convert-weights", checkpoint, "-o", cli.folder / "w.h5").failed(2, ".safetensors")
    cli("convert-weights", checkpoint, "-o", out, "--model", "x").failed(2, "one of mrbcr")
    cli("convert-weights", checkpoint, "-o", cli.folder / "no" / "w.safetensors").failed(
        2, "folder"
    )
    data = checkpoint / "ckpt-1.data-00000-of-00001"
    changed = bytearray(data.read_bytes())
    changed[5000] ^= 1
    data.write_bytes(changed)
    cli("convert-weights", checkpoint, "-o", out).failed(2, "tensor 'dense_u", "checksum")
    assert not out.exists()
