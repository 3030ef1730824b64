# SPDX-License-Identifier: BSD-3-Clause
"""Provenance: stored in the description, read back, kept from one result to the next."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from otfuse.io import Stack, find_provenance, provenance, read_stack, write_stack
from otfuse.io.provenance import describe


@pytest.fixture
def hyperstack(rng: np.random.Generator) -> Stack:
    data = rng.random((2, 2, 3, 4, 5), dtype=np.float32)
    return Stack(data, "TCZYX", "TCZYX", description="made at night")


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif"])
def test_provenance_is_in_the_description(name: str, hyperstack: Stack, tmp_path: Path) -> None:
    psf = np.ones((3, 3, 3), np.float32)
    record = provenance(psf=psf, iters=30, text='quotes " = : \\ and µ')
    write_stack(tmp_path / name, hyperstack.data, like=hyperstack, provenance=record)
    assert find_provenance(read_stack(tmp_path / name).description) == record
    with tifffile.TiffFile(tmp_path / name) as tif:
        assert record["psf_sha256"] in tif.pages[0].description
    assert set(record) >= {"software", "version", "time", "parameters", "psf_sha256"}
    assert record["time"].endswith("+00:00")


def test_provenance_of_a_result_of_a_result(hyperstack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "out.ome.tif"
    write_stack(path, hyperstack.data, like=hyperstack, provenance=provenance(step=1))
    first = read_stack(path)
    write_stack(path, first.data, like=first, provenance=provenance(step=2), overwrite=True)
    text = read_stack(path).description
    newest = find_provenance(text)
    assert newest is not None and newest["parameters"] == {"step": 2}
    assert '"step": 1' in text and "made at night" in text


def test_psf_digest_tells_psfs_apart() -> None:
    psf = np.arange(8.0).reshape(2, 2, 2)
    digests = [
        provenance(psf=p)["psf_sha256"]
        for p in (psf, psf.astype(np.float32), psf.reshape(2, 4), psf + 1, [psf, psf])
    ]
    assert digests[0] == digests[1] and len(set(digests)) == 4


def test_provenance_is_json() -> None:
    record = provenance(value=np.float32(1.5), values=np.arange(3), path=Path("a"))
    parameters = json.loads(describe(record).partition(": ")[2])["parameters"]
    assert parameters == {"value": 1.5, "values": [0, 1, 2], "path": "a"}
