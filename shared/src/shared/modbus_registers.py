"""Modbus registers <-> numbers: one codec for whoever serves a tag and whoever reads it.

Enters: a `Register` of the configuration, and a number or its 16-bit words. Leaves: the other of the
two. Pure. The 32-bit orders are the four in use in the field; for 64 bits CDAB reverses the words,
BADC swaps the bytes within each word, DCBA does both; for 16 bits only the byte order matters.
"""

import struct
from collections.abc import Sequence
from typing import Final

from shared.reactor_config import Register

_CODES: Final = {
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "float32": "f",
    "float64": "d",
}
_WORDS_REVERSED: Final = frozenset({"CDAB", "DCBA"})
_BYTES_SWAPPED: Final = frozenset({"BADC", "DCBA"})


def encode(register: Register, value: float) -> tuple[int, ...]:
    """The `register.count` words (0-65535, as sent) that hold `value`; the inverse of `decode`.

    An integer type holds the nearest step of its scale. ValueError when the type cannot hold it:
    a number past its ends, or NaN or infinity in an integer.
    """
    raw = (value - register.offset) / register.scale
    try:
        number = raw if register.type.startswith("float") else round(raw)
        data = struct.pack(f">{_CODES[register.type]}", number)
    except (struct.error, OverflowError, ValueError) as error:
        raise ValueError(f"{value} does not fit {register.type} with scale {register.scale}") from error
    byte_order = "<" if register.order in _BYTES_SWAPPED else ">"
    words = struct.unpack(f"{byte_order}{register.count}H", data)
    return words[::-1] if register.order in _WORDS_REVERSED else words


def decode(register: Register, words: Sequence[int]) -> float:
    """The number in `words`, as sent: `raw * scale + offset`; may be NaN or infinite for floats."""
    ordered = words[::-1] if register.order in _WORDS_REVERSED else words
    byte_order = "<" if register.order in _BYTES_SWAPPED else ">"
    data = struct.pack(f"{byte_order}{register.count}H", *ordered)
    (raw,) = struct.unpack(f">{_CODES[register.type]}", data)
    return float(raw * register.scale + register.offset)


def number_code(register: Register) -> str:
    """The register's big-endian number for `struct` and for `numpy.dtype`, for example `>f`."""
    return f">{_CODES[register.type]}"


def bytes_in_order(register: Register) -> list[int]:
    """Which of the bytes as sent, counted from 0, make the big-endian number, first byte first."""
    words = [[2 * word, 2 * word + 1] for word in range(register.count)]
    if register.order in _WORDS_REVERSED:
        words.reverse()
    if register.order in _BYTES_SWAPPED:
        words = [word[::-1] for word in words]
    return [place for word in words for place in word]


def as_read(register: Register, value: float) -> float:
    """`value` as a reader of the register will see it (float32 or step rounding applied)."""
    return decode(register, encode(register, value))
