# SPDX-License-Identifier: BSD-3-Clause
"""TensorFlow checkpoints (version 2, a "tensor bundle"), read with numpy and nothing executed."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otfuse.io.crc32c import masked_crc32c
from otfuse.io.sstable import Damage, numbers, parts, read_table, varint

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_STRING = 7
# Numbers of TensorFlow's types.
_DTYPES = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 17: "<u2",
    19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies."""

    key: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


def read_tf_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Every numeric tensor of a checkpoint by the name of its variable.

    The name is that of the object graph where there is one (Keras: `conv2d_5/kernel`), the key
    otherwise. Checksums of all tensors, strings included, and of all blocks of the index are
    compared, extents with sizes before anything is read, and no byte of the files is left out.

    Parameters
    ----------
    path : str or Path
        A folder that holds one checkpoint, its `.index` file, or the prefix of its files' names.

    Returns
    -------
    dict of name to ndarray
        In the layout of the file: dense kernels (in, out), convolutions (..., in, out).

    Raises
    ------
    FileNotFoundError  if there is no such checkpoint, or a file of it is missing.
    ValueError  if a file is cut off or changed; names the tensor, the index block or the footer.

    References
    ----------
    TensorFlow, core/util/tensor_bundle; LevelDB, doc/table_format.md.
    """
    index = find_tf_checkpoint(path)
    try:
        table = read_table(index.read_bytes())
        n_shards, entries = _entries(table)
    except Damage as error:
        raise _damaged(index, error) from None
    prefix = str(index)[: -len(".index")]
    tensors: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    for shard in range(n_shards):
        file = Path(f"{prefix}.data-{shard:05}-of-{n_shards:05}")
        try:
            _read_shard(file, [e for e in entries if e.shard == shard], tensors, names)
        except Damage as error:
            raise _damaged(file, error) from None
    named = {names.get(key, key): tensor for key, tensor in tensors.items()}
    if len(named) != len(tensors):
        raise _damaged(index, Damage("two tensors have one name"))
    return named


def find_tf_checkpoint(path: str | Path) -> Path:
    """The `.index` file of a checkpoint given as a folder, a file of it, or a prefix.

    Raises
    ------
    FileNotFoundError  if there is none.
    ValueError  if a folder holds several.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) > 1:
            raise ValueError(
                f"read_tf_checkpoint: folder must hold one checkpoint, got {len(found)} in {path}; "
                f"give one of {', '.join(f.name for f in found)}"
            )
        if found:
            return found[0]
    prefix = path.with_name(path.name.partition(".data-")[0].removesuffix(".index"))
    index = prefix.with_name(prefix.name + ".index")
    if not index.is_file():
        raise FileNotFoundError(
            errno.ENOENT,
            "path must name a TensorFlow checkpoint, there is no .index file",
            str(path),
        )
    return index


def _damaged(file: Path, error: Damage) -> ValueError:
    return ValueError(
        f"read_tf_checkpoint: checkpoint must be as it was written, got {file}: {error}; "
        "copy it again"
    )


def _entries(table: dict[bytes, bytes]) -> tuple[int, list[_Entry]]:
    """Number of shards, and the tensors in the order of the files' bytes."""
    if b"" not in table:
        raise Damage("the index has no header")
    header = numbers(table[b""])
    n_shards = header.get(1, 0)
    if header.get(2, 0) != 0 or not 1 <= n_shards <= 99999:
        raise Damage(f"the header asks for {n_shards} shards or a big-endian machine")
    entries = [_entry(key.decode("utf-8", "replace"), raw) for key, raw in table.items() if key]
    entries.sort(key=lambda entry: (entry.shard, entry.offset, entry.size))
    if entries and not 0 <= entries[-1].shard < n_shards:
        raise Damage(f"tensor {entries[-1].key!r} lies in shard {entries[-1].shard} of {n_shards}")
    return n_shards, entries


def _entry(key: str, raw: bytes) -> _Entry:
    if parts(raw, 7):
        raise Damage(f"tensor {key!r} is stored in slices, which is not supported")
    shape = [numbers(dim).get(1, 0) for part in parts(raw, 2) for dim in parts(part, 2)]
    values = numbers(raw)
    dtype, size = values.get(1, 0), values.get(5, 0)
    if dtype != _STRING:
        if dtype not in _DTYPES:
            raise Damage(f"tensor {key!r} has a type of unknown number {dtype}")
        expected = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        if size != expected:
            raise Damage(f"tensor {key!r} of extents {shape} takes {expected} bytes, not {size}")
    return _Entry(
        key, dtype, tuple(shape), values.get(3, 0), values.get(4, 0), size, values.get(6, 0)
    )


def _read_shard(
    file: Path, entries: Iterable[_Entry], tensors: dict[str, np.ndarray], names: dict[str, str]
) -> None:
    """Add the tensors of one data file, and the names that an object graph among them gives."""
    end = 0
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        for entry in entries:
            if entry.offset != end:
                raise Damage(f"tensor {entry.key!r} begins at byte {entry.offset}, not {end}")
            end += entry.size
            if end > size:
                raise Damage(f"tensor {entry.key!r} ends at byte {end}, the file at {size}")
            raw = stream.read(entry.size)
            if entry.dtype == _STRING:
                strings = _strings(entry, raw)
                if entry.key == _GRAPH and len(strings) == 1:
                    names.update(_names(strings[0]))
                continue
            _compare(entry, masked_crc32c(raw))
            values = np.frombuffer(raw, _DTYPES[entry.dtype]).reshape(entry.shape)
            tensors[entry.key] = values.astype(values.dtype.newbyteorder("="))
    if end != size:
        raise Damage(f"its last tensor ends at byte {end}, the file at {size}")


def _compare(entry: _Entry, crc: int) -> None:
    if crc != entry.crc:
        raise Damage(f"tensor {entry.key!r} does not match its checksum")


def _strings(entry: _Entry, raw: bytes) -> list[bytes]:
    """Lengths, their checksum, then the bytes; the entry's checksum takes lengths of 32 bits."""
    lengths, at = [], 0
    try:
        for _ in range(math.prod(entry.shape)):
            length, at = varint(raw, at)
            lengths.append(length)
    except Damage as error:
        raise Damage(f"tensor {entry.key!r}: {error}") from None
    if at + 4 + sum(lengths) != len(raw):
        raise Damage(f"tensor {entry.key!r} is not as long as its strings")
    as_words = b"".join(length.to_bytes(4, "little") for length in lengths)
    if masked_crc32c(as_words) != int.from_bytes(raw[at : at + 4], "little"):
        raise Damage(f"tensor {entry.key!r}: its lengths do not match their checksum")
    _compare(entry, masked_crc32c(as_words + raw[at:]))
    strings, at = [], at + 4
    for length in lengths:
        strings.append(raw[at : at + length])
        at += length
    return strings


def _names(graph: bytes) -> dict[str, str]:
    """Checkpoint key to variable name, from the object graph: nodes (1), their attributes (2)."""
    found = {}
    for node in parts(graph, 1):
        for attribute in parts(node, 2):
            for name, key in zip(parts(attribute, 2), parts(attribute, 3), strict=False):
                found[key.decode("utf-8", "replace")] = name.decode("utf-8", "replace")
    return found
