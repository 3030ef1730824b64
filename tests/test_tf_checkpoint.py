# SPDX-License-Identifier: BSD-3-Clause
"""TensorFlow checkpoints: read bit for bit, and refused when any byte is not what it was."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from otfuse.io import read_tf_checkpoint
from otfuse.io.crc32c import crc32c, masked_crc32c
from otfuse.io.sstable import Damage, read_table
from shared_data import shared_folder
from tf_checkpoint_writer import block, bytes_field, entry, number_field, table, write_tf_checkpoint

CHECKPOINTS = [
    "mrbcr_biosr", "debcr_2D_denoising", "debcr_3D_denoising", "debcr_bright_SR",
    "debcr_confocal_SR", "rln_mito",
]  # fmt: skip


def bitwise_crc32c(message: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in message:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 63, 64, 65, 128, 129, 700])
def test_crc32c(n: int, rng: np.random.Generator) -> None:
    message = rng.bytes(n)
    assert crc32c(message) == bitwise_crc32c(message)
    assert crc32c(bytes(n)) == bitwise_crc32c(bytes(n))


def test_crc32c_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Prefix of a checkpoint of three tensors, two of them named by an object graph."""
    tensors = {
        "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a/steps": np.array(7, np.int64),
        "b": np.linspace(0, 1, 4),
    }
    write_tf_checkpoint(tmp_path / "model", tensors, {"a/kernel": "dense/kernel", "b": "dense/b"})
    return tmp_path / "model"


def test_reads_names_types_and_extents(small: Path) -> None:
    found = read_tf_checkpoint(small)
    assert list(found) == ["dense/kernel", "a/steps", "dense/b"]
    assert {k: (v.dtype.name, v.shape) for k, v in found.items()} == {
        "dense/kernel": ("float32", (2, 3)),
        "a/steps": ("int64", ()),
        "dense/b": ("float64", (4,)),
    }
    np.testing.assert_array_equal(found["dense/kernel"], np.arange(6).reshape(2, 3))
    assert found["a/steps"] == 7
    for same in (small.parent, f"{small}.index", f"{small}.data-00000-of-00001"):
        assert list(read_tf_checkpoint(same)) == list(found)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_any_changed_byte_is_named(small: Path, suffix: str, rng: np.random.Generator) -> None:
    file = small.with_name(small.name + suffix)
    good = file.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << rng.integers(8)
        file.write_bytes(bad)
        with pytest.raises(ValueError, match=r"tensor '|index|footer") as caught:
            read_tf_checkpoint(small)
        text = str(caught.value)
        assert file.name in text and text.endswith("; copy it again")
        if suffix == ".index" and place >= len(good) - 48:
            assert "footer" in text


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_any_truncation_is_named(small: Path, suffix: str) -> None:
    file = small.with_name(small.name + suffix)
    good = file.read_bytes()
    for length in range(len(good)):
        file.write_bytes(good[:length])
        with pytest.raises(ValueError, match=r"tensor '|index|footer"):
            read_tf_checkpoint(small)
    file.write_bytes(good + b"\0")
    with pytest.raises(ValueError, match=r"last tensor ends|footer"):
        read_tf_checkpoint(small)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"b": entry(2, (1 << 50,), 32, 32, 0)}, r"tensor 'b' of extents \[1125899906842624\]"),
        ({"b": entry(2, (4,), 1 << 40, 32, 0)}, "tensor '.*' begins at byte"),
        ({"b": entry(2, (1 << 50,), 32, 1 << 53, 0)}, "ends at byte"),
        ({"b": entry(2, (4,), 0, 32, 0)}, "begins at byte 0|begins at byte 24"),
        ({"b": entry(99, (4,), 32, 32, 0)}, "unknown number 99"),
        ({"b": entry(2, (4,), 32, 32, 0) + bytes_field(7, b"")}, "slices"),
        ({"b": entry(2, (4,), 32, 32, 0) + number_field(3, 1)}, "shard 1 of 1"),
        ({"b": b"\x0f"}, "unknown kind 7"),
        ({"b": b"\x12\x7f"}, "cut off"),
        ({"b": b"\xff" * 12}, "no end"),
        ({"b": bytes_field(1, b"x") + bytes_field(5, b"y")}, "unknown number 0"),
        ({"": number_field(1, 0)}, "0 shards"),
        ({"": number_field(1, 1) + number_field(2, 1)}, "big-endian"),
    ],
)
def test_rejects_what_checksums_do_not_catch(
    tmp_path: Path, changes: dict[str, bytes], words: str
) -> None:
    tensors = {"a": np.zeros(8, np.float32), "b": np.zeros(4)}
    write_tf_checkpoint(tmp_path / "model", tensors, **changes)
    with pytest.raises(ValueError, match=words):
        read_tf_checkpoint(tmp_path)


def test_rejects_tables(tmp_path: Path) -> None:
    assert read_table(table({b"": b"x", b"key": b"y"})) == {b"": b"x", b"key": b"y"}
    with pytest.raises(Damage, match="compressed"):
        read_table(table({b"": b"x"}, compression=1))
    (tmp_path / "model.index").write_bytes(table({b"a": b""}))
    with pytest.raises(ValueError, match="no header"):
        read_tf_checkpoint(tmp_path)
    long = block({b"k": b"v"})[:-5]
    bad = long[:-4] + (1000).to_bytes(4, "little")  # more restarts than bytes
    body = bad + b"\0"
    whole = body + masked_crc32c(body).to_bytes(4, "little")
    good = table({b"k": b"v"})
    with pytest.raises(Damage, match="1000 restarts"):
        read_table(good.replace(block({b"k": b"v"}), whole))


def test_missing_and_ambiguous(small: Path) -> None:
    folder = small.parent
    with pytest.raises(FileNotFoundError, match=r"no \.index file"):
        read_tf_checkpoint(folder / "other")
    (folder / "second.index").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.index, second\.index"):
        read_tf_checkpoint(folder)
    small.with_name("model.data-00000-of-00001").unlink()
    with pytest.raises(FileNotFoundError):
        read_tf_checkpoint(small)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_published_checkpoints(name: str) -> None:
    """Every tensor of the map, in its extents and type."""
    folder = shared_folder(f"checkpoints/{name}")
    kind = "rln" if name.startswith("rln") else "mrbcr"
    text = shared_folder(f"reference/{kind}_tensor_map.json").read_text(encoding="utf-8")
    expected = {
        value.get("keras_name") or key: (tuple(value["shape"]), value.get("dtype", "float32"))
        for key, value in json.loads(text).items()
        if value.get("dtype") != "string"
    }
    found = {k: (v.shape, v.dtype.name) for k, v in read_tf_checkpoint(folder).items()}
    plain = {re.sub("/.ATTRIBUTES.*", "", k): v for k, v in expected.items()}
    assert found in (expected, plain)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_published_checkpoint_with_a_changed_byte(
    tmp_path: Path, suffix: str, rng: np.random.Generator
) -> None:
    folder = shared_folder("checkpoints/mrbcr_biosr")
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file = tmp_path / f"ckpt-24{suffix}"
    good = file.read_bytes()
    for place in rng.integers(0, len(good), 6):
        bad = bytearray(good)
        bad[place] ^= 0x10
        file.write_bytes(bad)
        with pytest.raises(ValueError, match=r"tensor '|index|footer"):
            read_tf_checkpoint(tmp_path)
