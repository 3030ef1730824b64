# SPDX-License-Identifier: BSD-3-Clause
"""What jobs on volumes leave behind: integers, pictures."""

from __future__ import annotations

import numpy as np
import pytest

import otfuse.jobs
from otfuse.cli import _memory, _volume_preview, _volume_settle
from otfuse.io import find_provenance, open_volume
from otfuse.io.pyramid import shrink
from test_cli_volume import Volumes, volumes

pytest.importorskip("zarr")
__all__ = ["volumes"]


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were memory for some tiles and no whole image."""
    monkeypatch.setattr(_memory, "free_memory", lambda: 8 << 20)
    monkeypatch.setattr(_volume_settle, "allowed_for", lambda *given: 13 << 20)


def as_stored(floats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers by the rule, and the factors."""
    factors = 65535 / floats.max(axis=(0, 2, 3, 4)).astype(np.float64)
    return np.rint(floats * factors[:, None, None, None]).astype(np.uint16), factors


@pytest.mark.parametrize("out", ["out.zarr", "out.tif"])
def test_integers(volumes: Volumes, little_memory: None, out: str) -> None:
    volumes.prepare()
    assert volumes.run(out="floats.zarr").code == 0
    stored, factors = as_stored(volumes.result("floats.zarr"))
    done = volumes.run("--dtype", "uint16", out=out)
    assert done.code == 0, done.err
    assert f"GFP: stored multiplied by {factors[0]:.6g}" in done.out
    found = open_volume(volumes.folder / out)
    assert found.dtype == np.uint16 and found.channel_names == ("GFP", "RFP")
    tolerance = 0 if out.endswith("zarr") else 66  # tiles of other extents
    assert np.abs(found.read().astype(int) - stored).max() <= tolerance
    record = find_provenance(found.description)
    assert record is not None
    assert record["scale"]["factors"][1]["factor"] == pytest.approx(factors[1], rel=1e-3)
    left = {path.name for path in volumes.folder.iterdir()}
    assert left == {"in.zarr", "psf.tif", "floats.zarr", out}


def test_integers_interrupted(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the last tile and its turning into integers: only these are made again."""
    words = ("--dtype", "uint8")
    volumes.prepare((1, 1, 6, 40, 44))
    with monkeypatch.context() as broken:

        def fails(*_: object) -> None:
            raise OSError("gone")

        broken.setattr(otfuse.jobs, "hand_over", fails)
        assert volumes.run(*words).code != 0
    assert not (volumes.folder / "out.zarr").exists()
    volumes.run("--dtype", "uint16").failed(2, "options dtype must be what the output was")
    done = volumes.run(*words)
    assert done.code == 0 and "nothing was left to do" in done.out
    assert volumes.result().dtype == np.uint8 and volumes.result().max() == 255
    assert "nothing was left to do" in volumes.run(*words).out
    volumes.run().failed(2, "options dtype must be what the output was")


@pytest.mark.parametrize("words", [(), ("--dtype", "uint16")])
def test_a_link_is_replaced_and_nothing_else(volumes: Volumes, words: tuple[str, ...]) -> None:
    volumes.prepare((1, 1, 6, 40, 44))
    assert volumes.run(out="kept.zarr").code == 0
    kept, link = volumes.result("kept.zarr"), volumes.folder / "out.zarr"
    link.symlink_to("kept.zarr")
    done = volumes.run(*words, "--iters", "2", "--overwrite")
    assert done.code == 0, done.err
    assert not link.is_symlink() and volumes.result().max() != kept.max()
    np.testing.assert_array_equal(volumes.result("kept.zarr"), kept)
    assert not list(volumes.folder.glob(".*"))


def test_compression(volumes: Volumes) -> None:
    volumes.prepare((1, 1, 6, 40, 44))
    assert volumes.run("--compression", "zstd").code == 0
    assert open_volume(volumes.folder / "out.zarr").compression == "zstd"
    assert volumes.run("--compression", "none", "--dtype", "uint8", out="b.zarr").code == 0
    assert open_volume(volumes.folder / "b.zarr").compression == "none"
    volumes.run("--compression", "none").failed(2, "options compression must be what")
    words = volumes.command("--compression", "none", out="out.tif")
    volumes(*words).failed(2, "--output must end in .zarr with --compression none")


@pytest.mark.parametrize("out", ["out.zarr", "out.tif"])
def test_pictures(volumes: Volumes, little_memory: None, out: str) -> None:
    volumes.prepare()
    picture = volumes.folder / "seen.png"
    done = volumes.run("--preview", picture, out=out)
    assert done.code == 0, done.err
    for channel in (1, 2):
        path = volumes.folder / f"seen-c{channel}.png"
        assert str(path) in done.out and path.read_bytes()[1:4] == b"PNG"
    done = volumes.run("--preview", picture, out="again" + out)
    assert done.code != 0 and "output exists" in done.err


def test_pictures_are_made_smaller(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = volumes.prepare((1, 1, 13, 70, 75))[0, 0]
    source = open_volume(volumes.folder / "in.zarr")
    monkeypatch.setattr(_volume_preview, "_BLOCK", 32)
    expected = shrink(shrink(data.astype(np.float32), (2, 2, 2)), (2, 2, 2))
    np.testing.assert_allclose(_volume_preview._small(source, 0, 4), expected, rtol=1e-6)
    monkeypatch.setattr(_volume_preview, "_MOST", 2000)
    done = volumes.run("--preview", volumes.folder / "seen.png")
    assert done.code == 0, done.err
    assert "drawn 4 times smaller" in done.out
