"""An OPC UA wire on which things go wrong, in front of a plant's servers: for tests and demonstrations.

Enters: a client's requests. Leaves: the server's answers, or what a bad day makes of them; which
answers have one, and which one, is drawn from a seed. The wire must be without encryption.
"""

import asyncio
import random
import struct
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from edge_agent.simulation.bad_wire import DELAY_MAX_S, DOWN_MAX_S, BadWire
from edge_agent.simulation.opcua_bad_answers import Answers, BadDay, days_for, service_of
from edge_agent.simulation.served import ServesPlant
from shared.listen import free_port

BAD_SHARE = 0.03  # of the answers; a poll has about two
PUBLISHED_TIMES = 5  # as many bad days among notifications, which most of them are about
CHUNK_BYTES_MAX = 1 << 20  # of a plant with some thousand variables
PIECES = 5  # in which an answer comes that comes in pieces


async def _next_chunk(reader: asyncio.StreamReader) -> bytes:
    """The next chunk; ConnectionError when there is none or it is no OPC UA."""
    try:
        head = await reader.readexactly(8)
        (size,) = struct.unpack_from("<I", head, 4)
        if not 8 <= size <= CHUNK_BYTES_MAX:
            raise ConnectionError("not an OPC UA chunk")
        return head + await reader.readexactly(size - 8)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("closed in mid-chunk") from error


class _Line:
    """One client's connection and what is particular to it."""

    def __init__(self, writer: asyncio.StreamWriter, dice: random.Random) -> None:
        self.writer = writer
        self.answers = Answers(dice)
        self.dropped = 0  # answers; the numbers of the later ones close the gap
        self.subscribed = True

    def renumbered(self, chunk: bytes) -> bytes:
        (number,) = struct.unpack_from("<I", chunk, 16)
        return chunk[:16] + struct.pack("<I", (number - self.dropped) & 0xFFFF_FFFF) + chunk[20:]


class OpcUaBadDays(BadWire):
    """Hands each answer of `servers` on, most of them unharmed.

    `happened` counts the bad days, `services` the requests.
    """

    share_text = (
        f"one answer in {1 / BAD_SHARE:.0f}, and one notification in {1 / BAD_SHARE / PUBLISHED_TIMES:.0f},"
    )

    def __init__(
        self,
        address: tuple[str, int],
        servers: Sequence[tuple[str, int]],
        seed: int,
        *,
        share: float = BAD_SHARE,
        delay_max_s: float = DELAY_MAX_S,
        down_max_s: float = DOWN_MAX_S,
    ) -> None:
        super().__init__(address, servers, seed, share=share, delay_max_s=delay_max_s, down_max_s=down_max_s)
        self.happened: Counter[BadDay] = Counter()
        self.services: Counter[str] = Counter()

    @classmethod
    def in_front_of(cls, server: ServesPlant, seed: int) -> Self:
        """Takes the address of a server that does not listen yet, and gives it another port."""
        address = (server.host, server.port)
        server.port = free_port(server.host)
        return cls(address, [(server.host, server.port)], seed)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(self._ask(reader, server)),
            asyncio.create_task(self._answer(server_reader, _Line(writer, self._random))),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _ask(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while True:
            chunk = await _next_chunk(reader)
            if service := service_of(chunk):
                self.services[service] += 1
            server.write(chunk)
            await server.drain()

    async def _answer(self, reader: asyncio.StreamReader, line: _Line) -> None:
        """Hand on answer after answer; returns when a bad day has ended the connection."""
        while True:
            chunk = await _next_chunk(reader)
            service = service_of(chunk)
            if not service:  # opens or closes a channel
                line.writer.write(chunk)
            elif service == "Publish" and not line.subscribed:
                line.dropped += 1
            elif not await self._hand_on(line, service, line.renumbered(chunk)):
                return
            await line.writer.drain()

    async def _hand_on(self, line: _Line, service: str, chunk: bytes) -> bool:
        """Whether the connection lives on."""
        day = self._draw(service)
        match day:
            case BadDay.RESET:
                return False
            case BadDay.RESTART:
                self._start(asyncio.create_task(self._restart()))
                return False
            case BadDay.SILENCE:
                line.dropped += 1
            case BadDay.DELAY:
                await asyncio.sleep(self._random.uniform(0, self._delay_max_s))
                line.writer.write(chunk)
            case BadDay.PIECES:
                await self._in_pieces(line.writer, chunk)
            case BadDay.HALF_CHUNK:
                line.writer.write(chunk[: self._random.randrange(1, len(chunk))])
                with suppress(OSError):
                    await line.writer.drain()
                return False
            case None:
                line.writer.write(chunk)
            case _:
                line.subscribed = day is not BadDay.LOST_SUBSCRIPTION
                line.writer.write(line.answers.spoiled(day, service, chunk))
        line.answers.remember(service, chunk)
        return True

    async def _in_pieces(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        size = len(chunk) // PIECES + 1
        for first in range(0, len(chunk), size):
            writer.write(chunk[first : first + size])
            await asyncio.sleep(self._random.uniform(0, self._delay_max_s / PIECES))

    def _draw(self, service: str) -> BadDay | None:
        share = self._share * (PUBLISHED_TIMES if service == "Publish" else 1)
        if self._random.random() >= share:
            return None
        day = self._random.choice(days_for(service))
        self.happened[day] += 1
        return day
