# SPDX-License-Identifier: BSD-3-Clause
"""Writes small TensorFlow checkpoints, so that damaged ones can be made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from otfuse.io.crc32c import masked_crc32c

NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
MAGIC = 0xDB4775248B80FB57


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: Mapping[bytes, bytes], compression: int = 0) -> bytes:
    """One block of a table, keys sharing what they begin with, and its trailer."""
    body, before = b"", b""
    for key, value in entries.items():
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value))
        body, before = body + key[shared:] + value, key
    body += (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes([compression])
    return body + masked_crc32c(body).to_bytes(4, "little")


def table(entries: Mapping[bytes, bytes], n_blocks: int = 2, compression: int = 0) -> bytes:
    """A whole index file."""
    items, data, handles = list(entries.items()), b"", {}
    size = -(-len(items) // n_blocks)
    for first in range(0, len(items), size):
        part = dict(items[first : first + size])
        made = block(part, compression)
        handles[max(part)] = varint(len(data)) + varint(len(made) - 5)
        data += made
    footer = b""
    for made in (block({}), block(handles)):
        footer += varint(len(data)) + varint(len(made) - 5)
        data += made
    return data + footer.ljust(40, b"\0") + MAGIC.to_bytes(8, "little")


def entry(dtype: int, shape: tuple[int, ...], offset: int, size: int, crc: int) -> bytes:
    dims = b"".join(bytes_field(2, number_field(1, n)) for n in shape)
    out = number_field(1, dtype) + bytes_field(2, dims)
    out += number_field(4, offset) + number_field(5, size)
    return out + varint(6 << 3 | 5) + crc.to_bytes(4, "little")


def graph(names: Mapping[str, str]) -> bytes:
    """Object graph that gives the tensor of a key the name of a variable."""
    attributes = b"".join(
        bytes_field(
            2, bytes_field(1, b"VALUE") + bytes_field(2, v.encode()) + bytes_field(3, k.encode())
        )
        for k, v in names.items()
    )
    return bytes_field(1, attributes)


def write_tf_checkpoint(
    prefix: Path,
    tensors: Mapping[str, np.ndarray],
    names: Mapping[str, str] | None = None,
    **changes: bytes,
) -> None:
    """Write `prefix.index` and `prefix.data-00000-of-00001`; `changes` replace index entries."""
    data = b""
    entries = {b"": number_field(1, 1) + bytes_field(3, number_field(1, 1))}
    for key, tensor in tensors.items():
        raw, number = tensor.tobytes(), NUMBERS[str(tensor.dtype)]
        made = entry(number, tensor.shape, len(data), len(raw), masked_crc32c(raw))
        entries[key.encode()] = made
        data += raw
    if names is not None:
        text = graph(names)
        lengths = len(text).to_bytes(4, "little")
        rest = masked_crc32c(lengths).to_bytes(4, "little") + text
        raw = varint(len(text)) + rest
        key = b"_CHECKPOINTABLE_OBJECT_GRAPH"
        entries[key] = entry(7, (), len(data), len(raw), masked_crc32c(lengths + rest))
        data += raw
    entries |= {key.encode(): value for key, value in changes.items()}
    prefix.with_name(prefix.name + ".index").write_bytes(table(dict(sorted(entries.items()))))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)
