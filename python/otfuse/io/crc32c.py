# SPDX-License-Identifier: BSD-3-Clause
"""CRC-32C (Castagnoli) of bytes, vectorised: all pieces of a message at once, then in pairs."""

from __future__ import annotations

from functools import cache

import numpy as np

_POLYNOMIAL = 0x82F63B78  # reflected
_PIECE_LOG2 = 6  # bytes that one lane takes: 64
_MASK_DELTA = 0xA282EAD8


def crc32c(message: bytes) -> int:
    """CRC-32C of a message (RFC 3720, appendix B.4)."""
    n = len(message)
    if n == 0:
        return 0
    n_pieces = 1 << max(0, (n - 1) >> _PIECE_LOG2).bit_length()
    # Zeros in front change nothing once the register's start value is added to the first bytes.
    padded = np.zeros(max(n_pieces << _PIECE_LOG2, 4), np.uint8)
    padded[len(padded) - n :] = np.frombuffer(message, np.uint8)
    start = padded[len(padded) - n :][:4]
    start ^= 0xFF
    step = _shift(0)[0]
    lanes = np.zeros(n_pieces, np.uint32)
    for column in padded.reshape(n_pieces, -1).T:
        lanes = (lanes >> 8) ^ step[(lanes & 0xFF) ^ column]
    log2 = _PIECE_LOG2
    while len(lanes) > 1:
        lanes = _apply(_shift(log2), lanes[::2]) ^ lanes[1::2]
        log2 += 1
    # A message shorter than the register's start value leaves the rest of that value over.
    rest = 0xFFFFFFFF >> (8 * n) if n < 4 else 0
    return int(lanes[0]) ^ 0xFFFFFFFF ^ rest


def masked_crc32c(message: bytes) -> int:
    """The CRC as TensorFlow and LevelDB store it: rotated by 15 bits, plus a constant."""
    crc = crc32c(message)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


@cache
def _shift(log2_bytes: int) -> np.ndarray:
    """What 2^log2_bytes zeros do to the register, for each value of its four bytes: (4, 256)."""
    if log2_bytes:
        half = _shift(log2_bytes - 1)
        return _apply(half, half)
    value: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        value = (value >> 1) ^ np.where(value & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    higher = [np.arange(256, dtype=np.uint32) << (8 * byte) for byte in range(3)]
    return np.stack([value, *higher])


def _apply(table: np.ndarray, register: np.ndarray) -> np.ndarray:
    parts = [table[byte][(register >> (8 * byte)) & 0xFF] for byte in range(4)]
    return parts[0] ^ parts[1] ^ parts[2] ^ parts[3]
