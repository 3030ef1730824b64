# SPDX-License-Identifier: BSD-3-Clause
"""The index of a TensorFlow checkpoint: LevelDB's sorted table, and protocol buffers in it.

Every byte is accounted for: blocks carry checksums and follow each other without gaps, and the
footer is what their places make it.
"""

from __future__ import annotations

from collections.abc import Iterator

from otfuse.io.crc32c import masked_crc32c

_MAGIC = 0xDB4775248B80FB57
_FOOTER, _HANDLES, _TRAILER = 48, 40, 5
_LONGEST_VARINT = 10


class Damage(Exception):
    """What is wrong with the bytes; the caller adds the file's name."""


def read_table(data: bytes) -> dict[bytes, bytes]:
    """Entries of a table, in order.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    Damage  naming the footer or the index block that is not as it was written.
    """
    metaindex, index = _footer(data)
    blocks = []
    for key, handle in _block(data, *index, "the index of blocks").items():
        offset, at = varint(handle, 0)
        size, at = varint(handle, at)
        if at != len(handle):
            raise Damage(f"the index of blocks has bytes behind the place of block {key!r}")
        blocks.append((offset, size))
    ends = [0, *(offset + size + _TRAILER for offset, size in blocks)]
    if ends != [*(offset for offset, _ in blocks), metaindex[0]]:
        raise Damage("index blocks do not follow each other up to the metaindex block")
    entries: dict[bytes, bytes] = {}
    for number, (offset, size) in enumerate(blocks):
        entries.update(_block(data, offset, size, f"index block {number}"))
    _block(data, *metaindex, "the metaindex block")
    return entries


def _footer(data: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Places of the metaindex block and of the index of blocks."""
    if len(data) < _FOOTER:
        raise Damage(f"the footer is cut off: the file has {len(data)} bytes")
    footer, end = data[-_FOOTER:], len(data) - _FOOTER
    if int.from_bytes(footer[_HANDLES:], "little") != _MAGIC:
        raise Damage("the footer does not end in a table's magic number")
    try:
        values, at = [], 0
        for _ in range(4):
            value, at = varint(footer[:_HANDLES], at)
            values.append(value)
    except Damage as error:
        raise Damage(f"the footer holds no places of blocks ({error})") from None
    if b"".join(map(_to_varint, values)).ljust(_HANDLES, b"\0") != footer[:_HANDLES]:
        raise Damage("the footer's padding is not zero")
    meta_offset, meta_size, offset, size = values
    if meta_offset + meta_size + _TRAILER != offset or offset + size + _TRAILER != end:
        raise Damage("the footer places its blocks elsewhere than before itself")
    return (meta_offset, meta_size), (offset, size)


def _block(data: bytes, offset: int, size: int, name: str) -> dict[bytes, bytes]:
    """Entries of one block, its checksum compared first."""
    body = data[offset : offset + size + 1]  # with the byte that tells the compression
    stored = int.from_bytes(data[offset + size + 1 : offset + size + _TRAILER], "little")
    if masked_crc32c(body) != stored:
        raise Damage(f"{name} (byte {offset}) does not match its checksum")
    if body[-1] != 0:
        raise Damage(f"{name} is compressed (type {body[-1]}), which checkpoints are not")
    n_restarts = int.from_bytes(body[size - 4 : size], "little")
    end = size - 4 * (n_restarts + 1)
    if size < 4 or end < 0:
        raise Damage(f"{name} is shorter than its {n_restarts} restarts")
    entries: dict[bytes, bytes] = {}
    key, at, part = b"", 0, body[:end]
    while at < end:
        shared, at = varint(part, at)
        unshared, at = varint(part, at)
        length, at = varint(part, at)
        if shared > len(key) or at + unshared + length > end:
            raise Damage(f"{name} has an entry that exceeds it")
        key = key[:shared] + part[at : at + unshared]
        at += unshared
        entries[key] = part[at : at + length]
        at += length
    return entries


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, and the place behind it."""
    value = 0
    for i in range(_LONGEST_VARINT):
        if at + i >= len(data):
            raise Damage("an integer is cut off")
        value |= (data[at + i] & 0x7F) << (7 * i)
        if data[at + i] < 0x80:
            return value, at + i + 1
    raise Damage("an integer has no end")


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def numbers(message: bytes) -> dict[int, int]:
    """The integer fields of a protocol buffer."""
    return {number: value for number, value in _fields(message) if isinstance(value, int)}


def parts(message: bytes, number: int) -> list[bytes]:
    """What a field of strings or messages holds, in order."""
    return [value for n, value in _fields(message) if n == number and isinstance(value, bytes)]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise Damage(f"a message has a field of unknown kind {kind}")
        if at + size > len(message):
            raise Damage("a message is cut off")
        raw = message[at : at + size]
        yield tag >> 3, raw if kind == 2 else int.from_bytes(raw, "little")
        at += size
