"""A TCP wire in front of a plant's servers, whatever its protocol: who is on it, and how it goes down.

Enters: clients. Leaves: for each of them a connection to the server behind. What happens to what is said
is drawn and done by those who inherit from it.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from shared.errors import Retryable
from shared.listen import require_loopback

DELAY_MAX_S = 0.75  # longer than the default timeout of 0.5 s: some answers come too late
DOWN_MAX_S = 2.0  # a restart: as long as a small controller takes


class BadWire:
    """Listens at an address of its own, in front of one of `servers`; a restart brings the next of them."""

    def __init__(
        self,
        address: tuple[str, int],
        servers: Sequence[tuple[str, int]],
        seed: int,
        *,
        share: float,
        delay_max_s: float = DELAY_MAX_S,
        down_max_s: float = DOWN_MAX_S,
    ) -> None:
        self.host, self.port = address
        self._servers, self._server = list(servers), 0
        self._random = random.Random(seed)  # noqa: S311 - not a secret
        self._share, self._delay_max_s, self._down_max_s = share, delay_max_s, down_max_s
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Listen; Retryable when the port is taken, ConfigError unless the host is loopback."""
        require_loopback(self.host, "plant.host")
        try:
            await self._listen()
        except OSError as error:
            raise Retryable(
                f"{self.host}:{self.port} cannot be listened on ({error.strerror}); "
                "stop the program that has it or choose another plant.port"
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, self.host, self.port)

    async def _hang_up(self) -> None:
        """Take nobody any more and drop everybody.

        asyncio takes a client in three steps, and a listener that closes between them leaves the client's
        socket to the garbage collector. So the door is shut first, then those half-way in come in.
        """
        listener, self._listener = self._listener, None
        if listener is not None:
            for listening in listener.sockets:
                asyncio.get_running_loop().remove_reader(listening)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            listener.close()
        for client in self._clients:
            client.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)  # here: a task that is cancelled before it runs closes nothing
        self._start(asyncio.create_task(self._serve(reader, writer)))

    def _start(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until either side hangs up or a bad day does."""
        ends = [writer]
        try:
            server_reader, server = await asyncio.open_connection(*self._servers[self._server])
            ends.append(server)
            await self._carry(reader, writer, server_reader, server)
        except OSError:
            pass  # one side has hung up
        finally:
            self._clients.discard(writer)
            for end in ends:  # all of them, before a wait that may be cancelled
                end.transport.abort()
            for end in ends:
                with suppress(OSError):
                    await end.wait_closed()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        """Between a client and its server, until one of them or a bad day ends it; OSError is an end too."""
        raise NotImplementedError

    async def _restart(self) -> None:
        if self._listener is None:
            return  # is down already
        await self._hang_up()
        self._server = (self._server + 1) % len(self._servers)
        await asyncio.sleep(self._random.uniform(0, self._down_max_s))
        await self._listen()
