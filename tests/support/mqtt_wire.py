"""A wire between an MQTT client and its broker: it records what the client says, and has bad days."""

import asyncio
import random
from collections import Counter

CONNECT, PUBLISH = 1, 3
READ_ONLY = {CONNECT, 4, 8, 12, 14}  # PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT; MQTT 3.1.1, section 2.2.1
WILL_FLAG = 0x04  # of the eighth byte after CONNECT's fixed header, section 3.1.2.3
JITTER_S, PAUSE_S = 0.003, 0.03


class MqttWire:
    """Listens at `port` and hands on what comes; `packets` counts the client's, `wills` its last wills.

    Of what the broker sends, a share is late, comes after a pause, or ends in a reset.
    """

    def __init__(self, broker_port: int, *, seed: int = 0, share: float = 0.0) -> None:
        self.port, self.share = 0, share
        self._broker_port, self._random = broker_port, random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self.packets: Counter[int] = Counter()
        self.happened: Counter[str] = Counter()
        self.wills = 0

    async def __aenter__(self) -> "MqttWire":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        broker = None
        try:
            broker_reader, broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._record(reader, broker))
                both.create_task(self._hand_on(broker_reader, writer))
        except* OSError:
            pass  # one end has hung up: so does the other
        finally:
            for end in filter(None, (writer, broker)):
                end.transport.abort()

    async def _record(self, reader: asyncio.StreamReader, broker: asyncio.StreamWriter) -> None:
        """One MQTT control packet after the other, section 2.2."""
        while True:
            try:
                head = await reader.readexactly(2)
                while head[-1] & 0x80:
                    head += await reader.readexactly(1)
                length = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(head[1:]))
                body = await reader.readexactly(length)
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError("the client has hung up") from error
            self.packets[head[0] >> 4] += 1
            self.wills += head[0] >> 4 == CONNECT and bool(body[7] & WILL_FLAG)
            broker.write(head + body)
            await broker.drain()

    async def _hand_on(self, broker: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await broker.read(65_536):
            if self._random.random() < self.share:
                day = self._random.choices(["jitter", "pause", "reset"], [10, 2, 1])[0]
                self.happened[day] += 1
                if day == "reset":
                    raise ConnectionResetError(day)
                await asyncio.sleep(self._random.uniform(0, JITTER_S if day == "jitter" else PAUSE_S))
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("the broker has hung up")
