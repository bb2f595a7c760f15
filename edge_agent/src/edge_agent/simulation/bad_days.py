"""A Modbus TCP wire on which things go wrong, in front of a plant's server: for tests and demonstrations.

Enters: a client's requests. Leaves: the server's answers, or what a bad day makes of them; which
requests have one, and which one, is drawn from a seed. It never alters a register within an answer
whose header and lengths are right: Modbus TCP has no checksum, so no reader could tell.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Self

from edge_agent.simulation.bad_wire import DELAY_MAX_S, DOWN_MAX_S, BadWire
from edge_agent.simulation.modbus_server import PlantServer
from shared.listen import free_port

BAD_SHARE = 0.1  # of the requests; enough that a site's poll of some requests often meets one
UPSTREAM_TIMEOUT_S = 5.0  # the server behind is on this machine; past it the client is dropped
ANSWERS_MAX = 10_000  # remembered; a site's poll asks some hundred questions, always the same
FRAME_MAX = 260  # bytes, Modbus messaging on TCP/IP v1.0b, section 4.1


class BadDay(StrEnum):
    """What may happen to one request."""

    DELAY = "delay"
    SILENCE = "silence"
    RESET = "reset"
    EXCEPTION_1 = "exception 01"
    EXCEPTION_2 = "exception 02"
    EXCEPTION_4 = "exception 04"
    EXCEPTION_6 = "exception 06"
    LATE_REPLY = "late reply"  # before the next answer, to whoever asks: as a serial gateway does
    OTHER_UNIT = "other unit"  # another unit's registers
    OTHER_TRANSACTION = "other transaction"  # the last answer to this question, under a wrong id
    SHORT_FRAME = "short frame"
    GARBLED_FRAME = "garbled frame"
    RESTART = "restart"


_EXCEPTIONS: Final = {
    BadDay.EXCEPTION_1: 1,
    BadDay.EXCEPTION_2: 2,
    BadDay.EXCEPTION_4: 4,
    BadDay.EXCEPTION_6: 6,
}


class _Frame(NamedTuple):
    """A Modbus TCP message: its transaction id, its unit, and function code with data."""

    transaction: int
    unit: int
    pdu: bytes

    def packed(self) -> bytes:
        return struct.pack(">HHHB", self.transaction, 0, len(self.pdu) + 1, self.unit) + self.pdu


async def _next_frame(reader: asyncio.StreamReader) -> _Frame:
    """The next message; ConnectionError when there is none or it is no Modbus."""
    try:
        transaction, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
        if protocol or not 2 <= length <= FRAME_MAX - 6:
            raise ConnectionError("not a Modbus TCP frame")
        return _Frame(transaction, unit, await reader.readexactly(length - 1))
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("closed in mid-frame") from error


class BadDays(BadWire):
    """Hands each request on to `server`, most of them unharmed.

    `happened` counts the bad days, `function_codes` what the clients asked for.
    """

    share_text = f"one request in {1 / BAD_SHARE:.0f}"

    def __init__(
        self,
        address: tuple[str, int],
        server: tuple[str, int],
        units: Sequence[int],
        seed: int,
        *,
        share: float = BAD_SHARE,
        delay_max_s: float = DELAY_MAX_S,
        down_max_s: float = DOWN_MAX_S,
    ) -> None:
        super().__init__(address, [server], seed, share=share, delay_max_s=delay_max_s, down_max_s=down_max_s)
        self._units = list(units)
        self._late = b""  # an answer that waits for the next one
        self._answers: dict[tuple[int, bytes], _Frame] = {}  # the last to each question
        self.happened: Counter[BadDay] = Counter()
        self.function_codes: Counter[int] = Counter()

    @classmethod
    def in_front_of(cls, server: PlantServer, seed: int) -> Self:
        """Takes the address of a server that does not listen yet, and gives it another port."""
        address = (server.host, server.port)
        server.port = free_port(server.host)
        units = [component.unit for component in server.components.values()]
        return cls(address, (server.host, server.port), units, seed)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        while True:
            request = await _next_frame(reader)
            self.function_codes[request.pdu[0]] += 1
            writer.write(await self._answer(request, server_reader, server))
            await writer.drain()

    async def _answer(
        self, request: _Frame, reader: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> bytes:
        """The bytes that the client gets; ConnectionError to hang up on it."""
        day = self._draw()
        if day in _EXCEPTIONS:
            return request._replace(pdu=bytes([request.pdu[0] | 0x80, _EXCEPTIONS[day]])).packed()
        if day is BadDay.RESTART:
            self._start(asyncio.create_task(self._restart()))
        if day in {BadDay.RESET, BadDay.RESTART}:
            raise ConnectionError(day)
        asked = request._replace(unit=self._other_unit(request.unit)) if day is BadDay.OTHER_UNIT else request
        server.write(asked.packed())
        reply = await asyncio.wait_for(_next_frame(reader), UPSTREAM_TIMEOUT_S)
        late, self._late = self._late, b""
        before = self._remembered(request, reply)
        match day:
            case BadDay.SILENCE:
                return b""
            case BadDay.LATE_REPLY:
                self._late = reply.packed()
                return b""
            case BadDay.DELAY:
                await asyncio.sleep(self._random.uniform(0, self._delay_max_s))
            case BadDay.OTHER_TRANSACTION:
                reply = before._replace(transaction=self._other_transaction(reply))
            case BadDay.SHORT_FRAME:
                return late + self._shortened(reply)
            case BadDay.GARBLED_FRAME:
                return late + self._garbled(reply)
        return late + reply.packed()

    def _remembered(self, request: _Frame, reply: _Frame) -> _Frame:
        """The last answer to the same question (this one where there is none); keeps this one."""
        if len(self._answers) >= ANSWERS_MAX:
            self._answers.clear()
        question = (request.unit, request.pdu)
        before, self._answers[question] = self._answers.get(question, reply), reply
        return before

    def _draw(self) -> BadDay | None:
        if self._random.random() >= self._share:
            return None
        day = self._random.choice(list(BadDay))
        self.happened[day] += 1
        return day

    def _other_unit(self, unit: int) -> int:
        return self._random.choice([other for other in self._units if other != unit] or [unit % 247 + 1])

    def _other_transaction(self, reply: _Frame) -> int:
        """0, a near one or any: never the right one."""
        right = reply.transaction
        near = [0, (right - 1) & 0xFFFF, (right + 1) & 0xFFFF, self._random.randrange(0x10000)]
        return self._random.choice([other for other in near if other != right])

    def _shortened(self, reply: _Frame) -> bytes:
        """An answer with fewer registers than were asked for, or one that breaks off."""
        whole = reply.packed()
        if self._random.random() < 0.5 and len(reply.pdu) > 4:
            data = reply.pdu[2:-2]
            return reply._replace(pdu=bytes([reply.pdu[0], len(data)]) + data).packed()
        return whole[: self._random.randrange(1, len(whole))]

    def _garbled(self, reply: _Frame) -> bytes:
        """The answer with one byte wrong that says what it is: protocol, length, function or byte count."""
        garbled = bytearray(reply.packed())
        place = self._random.choice([2, 3, 4, 5, 7, 8])
        garbled[place] ^= self._random.randrange(1, 256)
        return bytes(garbled)
