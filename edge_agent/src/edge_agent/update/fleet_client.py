"""The stream to the fleet service: this site dials out, and dials again."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import structlog

from shared.wire import fleet_pb2, fleet_pb2_grpc

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0  # a fleet of a thousand sites calls again within half a minute, not all at once
HEARTBEAT_PERIOD_S = 10.0
OUTGOING_MAX = 64
KEEPALIVE_MS = 20_000

log = structlog.get_logger()


class FleetClient:
    """Says hello, hears commands, answers them; `run` never ends by itself."""

    def __init__(
        self,
        address: str,
        hello: Callable[[], fleet_pb2.Hello],
        on_command: Callable[[fleet_pb2.Command], Awaitable[fleet_pb2.Acknowledgement]],
        on_witnessed: Callable[[int, str], Awaitable[None]],
    ) -> None:
        self._address, self._hello = address, hello
        self._on_command, self._on_witnessed = on_command, on_witnessed
        self.connected = False

    async def run(self) -> None:
        """Stay connected; wait longer after each failure, with jitter."""
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                async with grpc.aio.insecure_channel(
                    self._address, options=[("grpc.keepalive_time_ms", KEEPALIVE_MS)]
                ) as channel:
                    await self._talk(fleet_pb2_grpc.FleetStub(channel))
            except grpc.aio.AioRpcError as error:
                if self.connected or wait_s == BACKOFF_FIRST_S:
                    log.warning("fleet service away", code=error.code().name, detail=error.details())
            wait_s = BACKOFF_FIRST_S if self.connected else min(wait_s * 2, BACKOFF_MAX_S)
            self.connected = False
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def _talk(self, stub: fleet_pb2_grpc.FleetStub) -> None:
        outgoing: asyncio.Queue[fleet_pb2.SiteMessage] = asyncio.Queue(OUTGOING_MAX)
        await outgoing.put(fleet_pb2.SiteMessage(hello=self._hello()))
        call = stub.Connect(self._messages(outgoing))
        await call.wait_for_connection()
        self.connected = True
        async for message in call:
            match message.WhichOneof("kind"):
                case "command":
                    answer = await self._on_command(message.command)
                    await outgoing.put(fleet_pb2.SiteMessage(acknowledgement=answer))
                case "witnessed":
                    await self._on_witnessed(message.witnessed.size, message.witnessed.note)

    async def _messages(
        self, outgoing: asyncio.Queue[fleet_pb2.SiteMessage]
    ) -> AsyncIterator[fleet_pb2.SiteMessage]:
        """What is queued, and a heartbeat when there is nothing."""
        while True:
            try:
                yield await asyncio.wait_for(outgoing.get(), HEARTBEAT_PERIOD_S)
            except TimeoutError:
                yield fleet_pb2.SiteMessage(heartbeat=fleet_pb2.Heartbeat(models=self._hello().models))
