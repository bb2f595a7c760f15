"""The fleet service over `grpc.aio`: one stream a connected site, one follower of the journal for all."""

import asyncio
import time
from typing import Any

import grpc
import structlog
from cryptography import x509
from google.protobuf.json_format import MessageToDict

from control_plane.enrolment.admission import Admission
from control_plane.release.fleet_store import FleetStore
from control_plane.release.journal import answer_event, health_event
from control_plane.rpc.lines import Answers, Commands, Line
from control_plane.rpc.peer import peer_certificate
from control_plane.rpc.server import start_server
from control_plane.rpc.wrapping import Wrapping
from shared.checkpoint import NoteError, parse_verifier_key
from shared.errors import Rejected, Retryable
from shared.schemas import utc_now
from shared.schemas.base import require_site_id
from shared.wire import fleet_pb2, fleet_pb2_grpc

JOURNAL_PERIOD_S = 0.25  # how soon a command reaches a connected site, and its answer the journal
HELLO_TIMEOUT_S = 10.0  # from the stream's beginning
SILENCE_MAX_S = 60.0  # sites send a heartbeat every 10 s; a silent one is closed, and dials again
SEND_TIMEOUT_S = 20.0  # for a site that doesn't read
STANDING_PERIOD_S = 10.0  # how soon an open stream ends whose certificate expires; revocation is at once
NOTED_PERIOD_S = 60.0  # how old `last_seen` may be while a site is connected
MODELS_MAX = 100  # of a site
MESSAGE_BYTES_MAX = 64 * 1024
SERVICE = fleet_pb2.DESCRIPTOR.services_by_name["Fleet"].full_name

log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]


class FleetService(fleet_pb2_grpc.FleetServicer):
    """Commands come from the journal, so a restart loses none.

    With `admission` a site is who its certificate says, and nobody else; without it (loopback) who it
    says it is.
    """

    def __init__(self, store: FleetStore, admission: Admission | None = None) -> None:
        self._store, self._admission = store, admission
        self._lines: dict[str, Line] = {}
        self._commands, self._answers = Commands(), Answers()
        self._witnessed: dict[str, tuple[int, str]] = {}
        self._version, self._looked = -1, 0.0
        self._taken = asyncio.Event()
        self._writing = asyncio.Lock()  # one thread at a time waits for the database

    @property
    def connected(self) -> int:
        """Open streams."""
        return len(self._lines)

    def witnessed(self, site_id: str, size: int, note: str) -> None:
        """Send a site its newest co-signed checkpoint, now or when it calls."""
        self._witnessed[site_id] = (size, note)
        if line := self._lines.get(site_id):
            line.wake.set()

    # --- one task for all streams ---------------------------------------------------------------

    async def follow(self) -> None:
        """Hand the journal's news to the streams and the streams' answers to the journal, for ever."""
        told = ""
        while True:
            try:
                await self._exchange()
                told = ""
            except Retryable as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("the journal of roll-outs waits", reason=told)
            self._end_what_may_not_stay()
            await asyncio.sleep(JOURNAL_PERIOD_S)

    async def _exchange(self) -> None:
        answers = self._answers.take()
        self._taken.set()
        try:
            async with self._writing:
                if answers:
                    await asyncio.to_thread(self._store.append, answers)
                await self._note_what_runs()
                lines = await asyncio.to_thread(self._store.events, self._commands.number)
        except Retryable:
            for answer in answers:  # one that is there already is not written twice
                self._answers.add(answer)
            raise
        for line in lines:
            site = self._commands.take(line)
            if site in self._lines:
                self._lines[site].wake.set()

    async def _note_what_runs(self) -> None:
        now = time.monotonic()
        due = {line.site: line for line in self._lines.values() if line.noted < now - NOTED_PERIOD_S}
        if due:
            await asyncio.to_thread(self._store.running, {site: line.models for site, line in due.items()})
            for line in due.values():
                line.noted = now

    def _end_what_may_not_stay(self) -> None:
        now = time.monotonic()
        for line in self._lines.values():
            if line.heard < now - SILENCE_MAX_S:
                line.end(f"no word for {SILENCE_MAX_S:.0f} s")
        if self._admission is None:
            return
        version = self._admission.version()
        if (version, self._looked > now - STANDING_PERIOD_S) == (self._version, True):
            return
        self._version, self._looked = version, now
        for line in self._lines.values():
            try:
                self._admission.require(line.site, line.serial)
            except Rejected as error:
                line.end(str(error))

    # --- one stream -----------------------------------------------------------------------------

    async def Connect(  # noqa: N802 - the name in the .proto
        self, _messages: object, context: Context
    ) -> None:
        """One site, for as long as it stays; its first message must be Hello."""
        line = await self._greet(context)
        if before := self._lines.get(line.site):
            before.end("the site has opened another stream")
        self._lines[line.site] = line
        await context.send_initial_metadata(())  # tells the site that it was taken
        listening = asyncio.create_task(self._listen(line, context))
        try:
            await self._speak(line, listening, context)
        finally:
            listening.cancel()
            if self._lines.get(line.site) is line:
                del self._lines[line.site]
        if line.ended is not None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, line.ended)

    async def _greet(self, context: Context) -> Line:
        """The line of who called; aborts the call, with the reason on the record, of who may not."""
        try:
            first = await asyncio.wait_for(context.read(), HELLO_TIMEOUT_S)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no Hello")
        if first is grpc.aio.EOF or not first.hello.site_id:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the first message must be Hello with a site_id"
            )
        hello, shown = first.hello, peer_certificate(context)
        try:
            return await self._admit(hello, shown)
        except NoteError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"audit_public_key: {error}")
        except Retryable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Rejected as error:
            log.error("site refused", site=hello.site_id, reason=str(error))
            if self._admission is not None:
                await asyncio.to_thread(self._admission.refused, hello.site_id, error, "fleet service")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        raise AssertionError  # abort raises; this tells mypy

    async def _admit(self, hello: fleet_pb2.Hello, shown: x509.Certificate | None) -> Line:
        """Rejected for who is not the site that the Hello names, or comes with another audit key."""
        site, key = require_site_id(hello.site_id), hello.audit_public_key
        parse_verifier_key(key)
        models = _models(hello.models)
        if self._admission is not None:
            if shown is None:
                raise Rejected("no certificate was shown; `edge-agent enroll` gets one")
            named = self._admission.site(shown)
            if named != site:
                raise Rejected(f"the certificate of {named} came with a Hello of {site}")
            self._admission.require_audit_key(site, key)
        async with self._writing:
            await asyncio.to_thread(
                self._store.seen, site, key, hello.agent_version, hello.store_id, models,
                enrolled=self._admission is not None,
            )  # fmt: skip
        now = time.monotonic()
        return Line(site, shown.serial_number if shown else 0, now, models, now)

    async def _speak(self, line: Line, listening: asyncio.Task[None], context: Context) -> None:
        """Tell the site what it was not told on this stream, until either side ends it."""
        while not listening.done() and line.ended is None:
            line.wake.clear()
            for message in self._news(line):
                try:
                    await asyncio.wait_for(context.write(message), SEND_TIMEOUT_S)
                except TimeoutError:
                    line.end(f"reads nothing for {SEND_TIMEOUT_S:.0f} s")
            await line.wake.wait()

    def _news(self, line: Line) -> list[fleet_pb2.CentreMessage]:
        news = []
        commands = {(event.rollout_id, event.generation) for event in self._commands.of(line.site)}
        for rollout_id, generation in sorted(commands - line.sent):
            told = fleet_pb2.Command(rollout_id=rollout_id, generation=generation)
            news.append(fleet_pb2.CentreMessage(command=told))
        line.sent = commands  # what is answered need not be remembered
        size, note = self._witnessed.get(line.site, (-1, ""))
        if size > line.witnessed:
            line.witnessed = size
            news.append(fleet_pb2.CentreMessage(witnessed=fleet_pb2.Witnessed(size=size, note=note)))
        return news

    async def _listen(self, line: Line, context: Context) -> None:
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                line.heard = time.monotonic()
                try:
                    self._hear(line, message)
                except Rejected as error:
                    log.warning("message refused", site=line.site, reason=str(error))
                while self._answers.full(line.site):
                    self._taken.clear()
                    await self._taken.wait()
        finally:
            line.wake.set()

    def _hear(self, line: Line, message: fleet_pb2.SiteMessage) -> None:
        """Who speaks is who opened the stream, whatever the message says."""
        match message.WhichOneof("kind"):
            case "acknowledgement":
                answer = message.acknowledgement
                self._answers.add(answer_event(line.site, answer, utc_now()))
                self._runs(line, answer.models)
            case "health":
                self._answers.add(health_event(line.site, message.health, utc_now()))
            case "heartbeat":
                self._runs(line, message.heartbeat.models)

    def _runs(self, line: Line, models: Any) -> None:
        found = _models(models)
        if found != line.models:
            line.models, line.noted = found, 0.0  # noted with the next exchange


async def start_fleet_server(
    service: FleetService, address: str, credentials: grpc.ServerCredentials | None = None, *more: Any
) -> grpc.aio.Server:
    """Serve; in clear on loopback only. ConfigError when the port is taken. `more` adds other services."""

    def add(server: Wrapping) -> None:
        fleet_pb2_grpc.add_FleetServicer_to_server(service, server)
        for each in more:
            each(server)

    return await start_server(address, "--fleet-listen", SERVICE, add, MESSAGE_BYTES_MAX, credentials)


def _models(models: Any) -> list[dict[str, Any]]:
    if len(models) > MODELS_MAX:
        raise Rejected(f"names {len(models)} models; at most {MODELS_MAX}")
    return [MessageToDict(model, preserving_proto_field_name=True) for model in models]
