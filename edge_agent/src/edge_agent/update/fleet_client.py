"""The stream to the fleet service: this site dials out, and dials again."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import structlog

from shared.wire import fleet_pb2, fleet_pb2_grpc

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0  # a fleet of a thousand sites calls again within half a minute, not all at once
HEARTBEAT_PERIOD_S = 10.0
OUTGOING_MAX = 64  # messages; a site has a handful of component types, each says a few things a trial
COMMANDS_MAX = 16  # that wait for the one in hand; each only says "look"
MESSAGE_BYTES_MAX = 256 * 1024  # the longest from the centre is a co-signed checkpoint, under 1 KiB
KEEPALIVE_MS = 20_000
_OPTIONS = [
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.use_local_subchannel_pool", 1),  # a renewed certificate counts from the next call on
]

_Call = grpc.aio.StreamStreamCall[Any, Any]

log = structlog.get_logger()


class FleetClient:
    """Says hello, hears commands, tells what comes of them; `run` never ends by itself.

    `credentials` is asked anew at each call, so that a renewed certificate counts; None speaks in clear,
    which the centre takes on loopback only. Commands are handed on one by one, whatever the stream does.
    """

    def __init__(
        self,
        address: str,
        hello: Callable[[], fleet_pb2.Hello],
        on_command: Callable[[fleet_pb2.Command], Awaitable[None]],
        on_witnessed: Callable[[int, str], Awaitable[None]],
        credentials: Callable[[], grpc.ChannelCredentials] | None = None,
    ) -> None:
        self._address, self._hello, self._credentials = address, hello, credentials
        self._on_command, self._on_witnessed = on_command, on_witnessed
        self._outgoing: deque[fleet_pb2.SiteMessage] = deque()
        self._more = asyncio.Event()
        self._commands: deque[fleet_pb2.Command] = deque(maxlen=COMMANDS_MAX)
        self._commanded = asyncio.Event()
        self.connected = False

    def send(self, message: fleet_pb2.SiteMessage) -> None:
        """Queue a message, also while the centre is away. When full the oldest health report gives way,
        then the oldest message: what a site runs and tries is in its next Hello anyway."""
        if len(self._outgoing) >= OUTGOING_MAX:
            health = (i for i, each in enumerate(self._outgoing) if each.WhichOneof("kind") == "health")
            del self._outgoing[next(health, 0)]
        self._outgoing.append(message)
        self._more.set()

    async def run(self) -> None:
        """Stay connected; wait longer after each failure, with jitter."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._obey())
            tasks.create_task(self._dial())

    async def _obey(self) -> None:
        while True:
            await self._commanded.wait()
            self._commanded.clear()
            while self._commands:
                await self._on_command(self._commands.popleft())

    async def _dial(self) -> None:
        wait_s, told = BACKOFF_FIRST_S, ""
        while True:
            try:
                async with self._channel() as channel:
                    await self._talk(fleet_pb2_grpc.FleetStub(channel))
            except grpc.aio.AioRpcError as error:
                if self.connected or error.details() != told:  # said once for as long as it stays the same
                    told = error.details() or ""
                    log.warning("fleet service away", code=error.code().name, detail=told)
            wait_s = BACKOFF_FIRST_S if self.connected else min(wait_s * 2, BACKOFF_MAX_S)
            self.connected = False
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def _channel(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        return grpc.aio.secure_channel(self._address, self._credentials(), options=_OPTIONS)

    async def _talk(self, stub: fleet_pb2_grpc.FleetStub) -> None:
        call = stub.Connect()
        await call.write(fleet_pb2.SiteMessage(hello=self._hello()))
        await call.initial_metadata()  # the centre answers once it has taken the Hello
        self.connected = True
        telling = asyncio.create_task(self._tell(call))
        try:
            async for message in call:
                await self._hear(message)
        finally:
            telling.cancel()
            await asyncio.wait([telling])

    async def _hear(self, message: fleet_pb2.CentreMessage) -> None:
        match message.WhichOneof("kind"):
            case "command":
                self._commands.append(message.command)
                self._commanded.set()
            case "witnessed":
                await self._on_witnessed(message.witnessed.size, message.witnessed.note)

    async def _tell(self, call: _Call) -> None:
        """What is queued, and a heartbeat when there is nothing. Ends with the stream."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # who reads sees why it ended
            while True:
                while self._outgoing:
                    message = self._outgoing[0]
                    await call.write(message)
                    if self._outgoing and self._outgoing[0] is message:  # it may have given way meanwhile
                        self._outgoing.popleft()
                self._more.clear()
                try:
                    await asyncio.wait_for(self._more.wait(), HEARTBEAT_PERIOD_S)
                except TimeoutError:
                    heartbeat = fleet_pb2.Heartbeat(models=self._hello().models)
                    await call.write(fleet_pb2.SiteMessage(heartbeat=heartbeat))
