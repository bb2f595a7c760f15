"""The fleet service over `grpc.aio`."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog
from google.protobuf.json_format import MessageToDict

from control_plane.release.fleet_store import FleetStore
from control_plane.release.journal import Event, answer_event, outstanding
from control_plane.rpc.server import start_server
from shared.checkpoint import NoteError, parse_verifier_key
from shared.errors import Rejected
from shared.schemas import utc_now
from shared.wire import fleet_pb2, fleet_pb2_grpc

JOURNAL_PERIOD_S = 0.5  # how soon a new roll-out reaches a connected site
HEARTBEAT_TIMEOUT_S = 60.0  # a stream that said nothing for this long is closed; the site dials again
WITNESSED_QUEUE_MAX = 16  # a newer co-signed checkpoint says all that an older one did
MESSAGE_BYTES_MAX = 256 * 1024
SERVICE = fleet_pb2.DESCRIPTOR.services_by_name["Fleet"].full_name

log = structlog.get_logger()
Stream = AsyncIterator[fleet_pb2.SiteMessage]


class FleetService(fleet_pb2_grpc.FleetServicer):
    """Each connected site has one stream; commands come from the journal, so a restart loses none."""

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._witnessed: dict[str, asyncio.Queue[tuple[int, str]]] = defaultdict(
            lambda: asyncio.Queue(WITNESSED_QUEUE_MAX)
        )

    def witnessed(self, site_id: str, size: int, note: str) -> None:
        """Queue a co-signed checkpoint for a site; the oldest gives way when it is not connected."""
        queue = self._witnessed[site_id]
        if queue.full():
            queue.get_nowait()
        queue.put_nowait((size, note))

    async def Connect(  # noqa: N802 - the name in the .proto
        self, request_iterator: Stream, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[fleet_pb2.CentreMessage]:
        """One site, for as long as it stays; its first message must be Hello."""
        site_id = await self._greet(request_iterator, context)
        await context.send_initial_metadata(())  # tells the site that it was taken
        listening = asyncio.create_task(self._listen(site_id, request_iterator))
        try:
            sent: set[tuple[str, int]] = set()
            while not listening.done():
                for message in await self._news(site_id, sent):
                    yield message
                await asyncio.wait([listening], timeout=JOURNAL_PERIOD_S)
            if not listening.cancelled() and isinstance(listening.exception(), TimeoutError):
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no heartbeat")
        finally:
            listening.cancel()

    async def _greet(self, messages: Stream, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        first = await anext(messages, None)
        if first is None or first.WhichOneof("kind") != "hello" or not first.hello.site_id:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the first message must be Hello with a site_id"
            )
        assert first is not None  # noqa: S101 - abort raises; this tells mypy
        hello = first.hello
        try:
            parse_verifier_key(hello.audit_public_key)
            models = _models(hello.models)
            await asyncio.to_thread(
                self._store.seen,
                hello.site_id,
                hello.audit_public_key,
                hello.agent_version,
                hello.store_id,
                models,
            )
        except NoteError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"audit_public_key: {error}")
        except Rejected as error:
            log.error("site refused", site=hello.site_id, reason=str(error))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        return str(hello.site_id)

    async def _listen(self, site_id: str, messages: Stream) -> None:
        while True:
            message = await asyncio.wait_for(anext(messages, None), HEARTBEAT_TIMEOUT_S)
            if message is None:
                return
            match message.WhichOneof("kind"):
                case "acknowledgement":
                    await asyncio.to_thread(self._answered, site_id, message.acknowledgement)
                case "heartbeat":
                    await asyncio.to_thread(self._store.running, site_id, _models(message.heartbeat.models))

    def _answered(self, site_id: str, answer: fleet_pb2.Acknowledgement) -> None:
        self._store.append([answer_event(site_id, answer, utc_now())])
        self._store.running(site_id, _models(answer.models))

    def _journal(self) -> list[Event]:
        return [line.event for line in self._store.events()]

    async def _news(self, site_id: str, sent: set[tuple[str, int]]) -> list[fleet_pb2.CentreMessage]:
        """What the site has not been told on this stream."""
        news = []
        for event in outstanding(await asyncio.to_thread(self._journal), site_id):
            command = (event.rollout_id, event.generation)
            if command not in sent:
                sent.add(command)
                told = fleet_pb2.Command(rollout_id=event.rollout_id, generation=event.generation)
                news.append(fleet_pb2.CentreMessage(command=told))
        queue = self._witnessed[site_id]
        while not queue.empty():
            size, note = queue.get_nowait()
            news.append(fleet_pb2.CentreMessage(witnessed=fleet_pb2.Witnessed(size=size, note=note)))
        return news


async def start_fleet_server(service: FleetService, address: str) -> grpc.aio.Server:
    """Serve on loopback; ConfigError when the port is taken."""

    def add(server: grpc.aio.Server) -> None:
        fleet_pb2_grpc.add_FleetServicer_to_server(service, server)

    return await start_server(address, "--fleet-listen", SERVICE, add, MESSAGE_BYTES_MAX)


def _models(models: Any) -> list[dict[str, Any]]:
    return [MessageToDict(model, preserving_proto_field_name=True) for model in models]
