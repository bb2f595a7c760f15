"""A plant, a centre's repositories, and a whole agent on real sockets between them."""

import asyncio
import json
import sqlite3
import urllib.error
import urllib.request
from contextlib import asynccontextmanager, closing
from pathlib import Path

from edge_agent.app import Agent
from edge_agent.settings import AgentSettings
from edge_agent.simulation.modbus_server import PlantServer
from edge_agent.simulation.plant import serve_rows, simulated
from shared.listen import free_port
from shared.reactor_config import parse_fleet
from shared.schemas import AuditEvent
from tests.support.releases import Centre

PERIOD_S = 0.05
DEADLINE_S = 60.0
NOWHERE = "http://127.0.0.1:1"


class Rig:
    """A plant, a centre's repositories, and a place for an agent's data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.centre = Centre(folder)
        plant = {"port": free_port(), "poll_period_s": PERIOD_S, "timeout_s": 0.04}
        self.fleet = parse_fleet({"TX01": {"plant": plant, "R1": {"coolant_pump": {}}}}, "test")
        self.health = f"127.0.0.1:{free_port()}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @asynccontextmanager
    async def plant(self):
        components = self.fleet.components("TX01")
        port = self.fleet.sites["TX01"].plant.port
        async with PlantServer("127.0.0.1", port, components) as server:
            rows = asyncio.create_task(serve_rows(server, simulated(components, 7), None, PERIOD_S))
            yield
            rows.cancel()

    @asynccontextmanager
    async def agent(self, repository: str = NOWHERE, fleet: str = "127.0.0.1:1"):
        """An agent whose broker is away, and whose fleet service is unless one is named."""
        settings = AgentSettings(
            config=self.folder / "unused.yaml", site="TX01", data_dir=self.data,
            trust_dir=self.centre.trust["TX01"], kafka="127.0.0.1:1", fleet=fleet,
            repository=repository, health=self.health,
        )  # fmt: skip
        stop = asyncio.Event()
        task = asyncio.create_task(Agent(settings, self.fleet).run(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    def rows(self, schema: str) -> list[dict]:
        if not (self.data / "outbox.db").exists():
            return []
        with closing(sqlite3.connect(f"file:{self.data / 'outbox.db'}?mode=ro", uri=True)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone():
                return []
            found = db.execute("SELECT body FROM records WHERE schema = ? ORDER BY seq", (schema,))
            return [json.loads(body) for (body,) in found]

    def events(self, event: AuditEvent) -> list[dict]:
        return [row for row in self.rows("audit/1") if row["event"] == event]

    async def until(self, condition, deadline_s: float = DEADLINE_S) -> None:
        async with asyncio.timeout(deadline_s):
            while not condition():
                await asyncio.sleep(0.05)

    async def get(self, path: str) -> tuple[int, str]:
        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://{self.health}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)
