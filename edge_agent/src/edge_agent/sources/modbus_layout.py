"""All answers of a component's plan, one after the other -> its numbers, in a few array operations. Pure.

Gives what `shared.modbus_registers.decode` gives tag by tag, bit for bit.
"""

import struct
from itertools import accumulate, groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_agent.sources.plan import Block
from shared.modbus_registers import bytes_in_order, decode, number_code
from shared.reactor_config import Component, Register

Numbers = npt.NDArray[np.float64]


class _Part(NamedTuple):
    """The tags of one type: their places among the tags, and their bytes' places in the answers."""

    dtype: np.dtype[np.generic]
    tags: npt.NDArray[np.intp]  # (n,)
    places: npt.NDArray[np.intp]  # (n, bytes of the type)


class Layout:
    """Where the blocks' answers go (`starts`, in bytes; `size` in all), and what numbers they hold."""

    def __init__(self, component: Component, blocks: tuple[Block, ...]) -> None:
        *self.starts, self.size = accumulate((2 * block.count for block in blocks), initial=0)
        self._start = {
            field.name: start + 2 * (field.register.address - block.address)
            for block, start in zip(blocks, self.starts, strict=True)
            for field in block.fields
        }
        self.names = tuple(component.tags)
        registers = [tag.register_ for tag in component.tags.values()]
        self._scale = np.array([register.scale for register in registers])
        self._offset = np.array([register.offset for register in registers])
        top = np.finfo(np.float64).max  # a tag without a range: any finite number
        ranges = [tag.range or (-top, top) for tag in component.tags.values()]
        self._low, self._high = np.array(ranges).T
        self._parts = [
            self._part(registers, list(tags))
            for _, tags in groupby(
                sorted(range(len(registers)), key=lambda tag: number_code(registers[tag])),
                key=lambda tag: number_code(registers[tag]),
            )
        ]

    def _part(self, registers: list[Register], tags: list[int]) -> _Part:
        starts = [self._start[self.names[tag]] for tag in tags]
        places = [
            [start + place for place in bytes_in_order(registers[tag])]
            for tag, start in zip(tags, starts, strict=True)
        ]
        return _Part(np.dtype(number_code(registers[tags[0]])), np.array(tags), np.array(places))

    def numbers(self, answers: bytes | bytearray) -> Numbers:
        """(tags,) in the order of `names`; may hold NaN and infinities."""
        sent = np.frombuffer(answers, np.uint8)
        raw = np.empty(len(self.names))
        with np.errstate(all="ignore"):  # what is no number is judged, not warned of
            for part in self._parts:
                raw[part.tags] = sent[part.places].view(part.dtype)[:, 0]
            numbers: Numbers = raw * self._scale + self._offset
        return numbers

    def place(self, name: str) -> int:
        """The first byte of one field among the answers."""
        return self._start[name]

    def number(self, name: str, register: Register, answers: bytes | bytearray) -> float:
        """One field by itself, for example the cycle counter."""
        return decode(register, struct.unpack_from(f">{register.count}H", answers, self._start[name]))

    def all_good(self, numbers: Numbers) -> bool:
        """Whether every number is finite and within its tag's range (ends included)."""
        return bool(((self._low <= numbers) & (numbers <= self._high)).all())
