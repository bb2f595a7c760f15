"""The centre's composition root: joins the rooms in one process, or starts one of them alone.

Kafka -> ingest -> lake -> console, API         inference (gRPC)
                     \\-> audit witness -> fleet service -> sites; enrolment and repositories beside it

Ingest and the web server have threads of their own, so that neither a slow commit nor a page holds up
a site's stream. A part's libraries are imported when that part is started: an installation for inference
alone has neither the lake's nor the web server's (decision 0035).
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import structlog

from control_plane.access.oidc_settings import OidcSettings
from control_plane.alerts.settings import NoticeSettings
from control_plane.inference_answering import InferenceSettings
from control_plane.inference_door import InferenceDoor, as_dialled
from control_plane.ingest.routing import Routes
from control_plane.layout import Layout
from control_plane.release.controller import run_controller
from control_plane.release.director_keys import DirectorKeys
from control_plane.release.renewal import keep_fresh
from control_plane.rpc.fleet import FleetService
from control_plane.rpc.server import STOP_GRACE_S
from control_plane.site_doors import SiteDoors
from shared.errors import Retryable
from shared.kafka_client import KafkaClientSettings
from shared.listen import listener
from shared.reactor_config import FleetConfig

if TYPE_CHECKING:
    from fastapi import FastAPI

    from control_plane.access.desk import AccessDesk
    from control_plane.ingest_part import Influx

WITNESS_PERIOD_S = 5.0  # how often new checkpoints are checked and co-signed
STOP_DEADLINE_S = 10.0  # for the batch that ingest has in hand
PAGES_STOP_DEADLINE_S = 2  # browsers keep their connections; they reconnect by themselves

log = structlog.get_logger()


class Part(StrEnum):
    """What can be started alone."""

    INGEST = "ingest"  # Kafka to the lake
    FLEET = "fleet"  # the sites' streams and the audit witness
    WEB = "web"  # console, API and repositories: one HTTP server
    INFERENCE = "inference"


class WebTls(NamedTuple):
    """What console and API speak TLS with: files in PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class CentreSettings:
    """Addresses are HOST:PORT; what the centre keeps lies under `data_dir`.

    `names` are what sites dial the centre by. With them all that sites dial speaks TLS to enrolled sites;
    without them fleet service and repositories are in clear, on loopback.
    """

    data_dir: Path
    kafka: str
    listen: str
    fleet_listen: str
    inference: InferenceSettings
    repository_listen: str = "127.0.0.1:8443"
    enrol_listen: str = "127.0.0.1:50053"
    names: tuple[str, ...] = ()
    parts: frozenset[Part] = frozenset(Part)
    influx: "Influx | None" = None
    kafka_client: KafkaClientSettings = field(default_factory=KafkaClientSettings)
    director_keys: DirectorKeys | None = None
    routes: Routes = field(default_factory=Routes)
    notices: NoticeSettings = field(default_factory=NoticeSettings)
    ingest_metrics: str | None = None
    web_tls: WebTls | None = None
    oidc: OidcSettings | None = None


class Centre:
    """The chosen parts, side by side, until told to stop."""

    def __init__(self, settings: CentreSettings, fleet: FleetConfig) -> None:
        self._settings, self._fleet = settings, fleet
        self._layout = Layout(settings.data_dir)
        self._store = self._layout.store()
        self._doors = SiteDoors(settings.data_dir, settings.names)
        self._servers: list[grpc.aio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, stop: asyncio.Event, say: Callable[[str], None]) -> None:
        """Start every part, tell where each is, wait for `stop`, end each in order.

        A part that fails ends the whole: a service manager starts it again, and nobody looks at a centre
        whose ingest is dead.
        """
        parts, own = self._settings.parts, self._settings
        ingest_stop = threading.Event()
        threads, web, inference = [], None, None
        if Part.WEB in parts:
            web = await self._open_web(say)
        if Part.FLEET in parts:
            await self._open_to_sites(say)
        if Part.INFERENCE in parts:
            inference = InferenceDoor(self._layout, own.inference, self._doors.admission)
            await inference.open(say)
            self._begin(inference.follow())
        if Part.INGEST in parts:
            threads.append(asyncio.create_task(asyncio.to_thread(self._ingest, ingest_stop, say)))
        try:
            ended = asyncio.create_task(stop.wait())
            await asyncio.wait([ended, *self._tasks, *threads], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ingest_stop.set()
            if web is not None:
                web.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*(server.stop(STOP_GRACE_S) for server in self._servers))
            if inference is not None:
                await inference.close()
            self._doors.close()
            if threads:
                await asyncio.wait(threads, timeout=STOP_DEADLINE_S)
        for outcome in await asyncio.gather(*self._tasks, *threads, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _open_web(self, say: Callable[[str], None]) -> "WebServer":
        own, access = self._settings, self._layout.access()
        first = await asyncio.to_thread(access.accounts.add_first)
        web = WebServer(self._pages(access), own.listen, own.web_tls)
        self._begin(web.ended())
        say(f"console and API    {web.url}/")
        if first is not None:
            name, password = first
            say(f"first account      {name}, one-time password {password} (it asks for another)")
        if not own.names:
            say(f"repositories       {web.url}/repository/")
        return web

    async def _open_to_sites(self, say: Callable[[str], None]) -> None:
        own, service = self._settings, FleetService(self._store, self._doors.admission)
        self._servers += await self._doors.open(
            service, own.fleet_listen, own.enrol_listen, own.repository_listen, say
        )
        self._begin(service.follow())
        self._begin(self._witness(service))
        if own.director_keys is not None:
            self._begin(self._carry_roll_outs_on(own.director_keys))
            self._begin(keep_fresh(self._layout, own.director_keys.by_name, asyncio.Event()))
            say("roll-outs          carried on here, metadata renewed, with the directors' keys")

    async def _carry_roll_outs_on(self, keys: DirectorKeys) -> None:
        layout = self._layout
        await run_controller(layout.repository, self._store, keys, layout.centre_log())

    def _ingest(self, stop: threading.Event, say: Callable[[str], None]) -> None:
        from control_plane.ingest_part import IngestSettings, Scoring, run_ingest

        own = self._settings
        scoring = None
        if own.routes.names("scoring"):
            inference = as_dialled(self._layout, own.inference)
            scoring = Scoring(inference, self._fleet, self._layout.repository)
        ingest = IngestSettings(
            self._layout,
            own.kafka,
            own.kafka_client,
            own.influx,
            own.routes,
            scoring,
            own.notices,
            own.ingest_metrics,
        )
        run_ingest(ingest, stop, say)

    def _pages(self, access: "AccessDesk") -> "FastAPI":
        from starlette.staticfiles import StaticFiles

        from control_plane.api.desks import Desks
        from control_plane.api.fleet_view import FleetView
        from control_plane.console.app import create_app  # NiceGUI takes a second to import

        mounts = {
            f"/repository/{name}": StaticFiles(directory=self._layout.repository / name, check_dir=False)
            for name in ("image", "director")  # proposals are nobody's to fetch
            if not self._settings.names  # else to each site its own, over TLS
        }
        desks = Desks.over(self._layout, self._fleet)
        view = FleetView(self._layout.lake, self._fleet, desks.alerts.views)
        return create_app(view, desks, access=access, oidc=self._settings.oidc, mounts=mounts)

    async def _witness(self, service: FleetService) -> None:
        """Check each log's newest checkpoint against all before it; co-sign, and send a site's back."""
        from deltalake.exceptions import DeltaError

        from control_plane.audit.witness_rounds import WitnessRounds

        rounds = WitnessRounds(self._layout, self._store)
        while True:
            for name in await asyncio.to_thread(rounds.logs):
                try:
                    found = await asyncio.to_thread(rounds.look, name)
                except (Retryable, DeltaError) as error:
                    log.info("no look at the audit logs", reason=str(error))
                    break
                if found is not None:
                    service.witnessed(*found)
            for name, finding in rounds.findings.items():
                log.error("audit log contradicts itself; not co-signed", log=name, finding=finding)
            await asyncio.sleep(WITNESS_PERIOD_S)


class WebServer:
    """uvicorn on a thread of its own; its port is taken before anything slow begins."""

    def __init__(self, app: "FastAPI", address: str, tls: WebTls | None = None) -> None:
        import uvicorn

        self._scheme = "http" if tls is None else "https"
        self._socket = listener(address, "--listen", tls=tls is not None)
        settings = uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=PAGES_STOP_DEADLINE_S,
            proxy_headers=False,  # or whoever calls may say where from
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        self._server = uvicorn.Server(settings)
        self._loop, self._has_ended = asyncio.get_running_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    async def ended(self) -> None:
        """Wait until it has ended unasked; RuntimeError then. To be cancelled when it is stopped."""
        await self._has_ended.wait()
        raise RuntimeError("console and API have ended; the log says why")

    @property
    def url(self) -> str:
        """Where a browser goes."""
        host, port = self._socket.getsockname()[:2]
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def stop(self) -> None:
        """End it; open connections get a moment."""
        self._server.should_exit = True
        self._thread.join(PAGES_STOP_DEADLINE_S + 1)
        self._socket.close()

    def _run(self) -> None:
        try:
            with suppress(SystemExit):  # uvicorn's way to say that it cannot start; the log has why
                self._server.run(sockets=[self._socket])
        finally:
            with suppress(RuntimeError):  # the loop has ended before it
                self._loop.call_soon_threadsafe(self._has_ended.set)
