"""A centre whose doors are open: the real servers over TLS, with sites enrolled as an agent enrols."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from control_plane.audit.centre_log import CentreAct
from control_plane.rpc.fleet import FleetService
from control_plane.site_doors import SiteDoors
from edge_agent.audit.log import origin
from edge_agent.enrolment import enrol
from edge_agent.identity import SiteIdentity
from edge_agent.update import FleetClient
from shared.listen import free_port
from shared.log_key import LogKey
from shared.wire import fleet_pb2
from tests.support.releases import Centre

DEADLINE_S = 60.0


class Doors:
    """Addresses of the servers, and what a person at the centre does."""

    def __init__(self, centre: Centre) -> None:
        self.centre, self.layout = centre, centre.layout
        self.fleet, self.enrol_at, self.repositories = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.store = self.layout.store()
        self.register = self.layout.register()
        self.office = self.layout.enrolment(self.register)
        self.fingerprint = self.layout.authority().fingerprint

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FleetService]:
        doors = SiteDoors(self.layout.data_dir, ("127.0.0.1", "localhost"))
        service = FleetService(self.store, doors.admission)
        servers = await doors.open(service, self.fleet, self.enrol_at, self.repositories, lambda _: None)
        following = asyncio.create_task(service.follow())
        try:
            yield service
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            for server in servers:
                await server.stop(None)
            doors.close()
            self.register.close()
            self.store.close()

    async def enrol(self, site: str, folder: Path) -> "Site":
        """As the agent's command does it."""
        token, _ = self.office.token(site)
        await asyncio.to_thread(enrol, site, token, self.enrol_at, self.fingerprint, folder)
        return Site(site, folder, self)

    @property
    def url(self) -> str:
        return f"https://{self.repositories}/repository"

    def noted(self, act: CentreAct) -> list[tuple[str, str]]:
        """Who and why, of each such entry of the centre's log."""
        entries = self.layout.centre_log().entries()
        return [(e.subject, str(e.detail.get("reason", ""))) for e in entries if e.act is act]


class Site:
    """An enrolled site: its identity and its end of the stream."""

    def __init__(self, site: str, folder: Path, doors: Doors) -> None:
        self.site, self.folder, self.doors = site, folder, doors
        identity = SiteIdentity.of(folder)
        assert identity is not None  # enrolled
        self.identity = identity
        self.commands: list[tuple[str, int]] = []
        self.says, self.audit_key = (
            site,
            str(LogKey.load_or_create(folder / "audit.pem").verifier(origin(site))),
        )
        self.client = FleetClient(
            doors.fleet, self.hello, self.on_command, self.on_witnessed, self.identity.channel_credentials
        )

    def hello(self) -> fleet_pb2.Hello:
        return fleet_pb2.Hello(
            site_id=self.says, agent_version="0.1.0", store_id="s", audit_public_key=self.audit_key
        )

    async def on_command(self, command: fleet_pb2.Command) -> None:
        self.commands.append((command.rollout_id, command.generation))

    async def on_witnessed(self, _size: int, _note: str) -> None:
        pass

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.client.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.05)
