"""Light agents of `bench.fleet`: what a site says to the centre and fetches from it, and nothing else.

Each has its own certificate, its own channel with the agent's real `FleetClient`, its own TUF cache. Told
to look, it refreshes and verifies both repositories, downloads the release, verifies every byte with the real
`ReleaseClient`, and answers TRYING, COMMITTED and one health report. It polls, scores and stores nothing.
"""

import asyncio
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge_agent.audit.log import origin
from edge_agent.identity import SiteIdentity
from edge_agent.update import FleetClient, ReleaseClient
from shared.errors import PmStackError
from shared.log_key import LogKey
from shared.wire import fleet_pb2

FETCHES_AT_A_TIME = 8  # of one process; 500 sites of one process don't have 500 cores either
DIAL_SPREAD_S = 0.01  # between two sites' first calls
RETRY_S = 1.0


class LightAgent:
    """One site."""

    def __init__(self, folder: Path, fleet: str, repositories: str, pool: ThreadPoolExecutor) -> None:
        site = folder.name
        self.site, self._folder, self._pool = site, folder, pool
        identity = SiteIdentity.of(folder)
        assert identity is not None  # noqa: S101 - `bench.fleet` has enrolled it
        self._url, self._fetcher = f"https://{repositories}/repository", identity.fetcher()
        self._audit_key = str(LogKey.load_or_create(folder / "audit.pem").verifier(origin(site)))
        self.client = FleetClient(
            fleet, self._hello, self._on_command, self._on_witnessed, identity.channel_credentials
        )

    def _hello(self) -> fleet_pb2.Hello:
        return fleet_pb2.Hello(
            site_id=self.site, agent_version="0.1.0", store_id="bench", audit_public_key=self._audit_key
        )

    async def _on_command(self, command: fleet_pb2.Command) -> None:
        models = None
        while models is None:
            try:
                models = await asyncio.get_running_loop().run_in_executor(self._pool, self._fetch)
            except PmStackError as error:
                print(f"{self.site}: {error}", file=sys.stderr, flush=True)
                await asyncio.sleep(RETRY_S)
        for state in (fleet_pb2.Acknowledgement.TRYING, fleet_pb2.Acknowledgement.COMMITTED):
            answer = fleet_pb2.Acknowledgement(
                rollout_id=command.rollout_id, generation=command.generation, state=state, models=models
            )
            self.client.send(fleet_pb2.SiteMessage(acknowledgement=answer))
        report = fleet_pb2.HealthReport(
            rollout_id=command.rollout_id, generation=command.generation,
            state=fleet_pb2.Acknowledgement.COMMITTED, windows=1, component_type=models[0].component_type,
        )  # fmt: skip
        self.client.send(fleet_pb2.SiteMessage(health=report))

    def _fetch(self) -> list[fleet_pb2.RunningModel]:
        client = ReleaseClient(self._folder, self._folder / "trust", self._url, self.site, self._fetcher)
        found = client.fetch()
        return [
            fleet_pb2.RunningModel(
                component_type=each.manifest.component_type, name=each.manifest.name,
                version=each.manifest.version, sha256=each.sha256,
            )
            for each in found
        ]  # fmt: skip

    async def _on_witnessed(self, _size: int, _note: str) -> None:
        """No log here, no co-signature."""


async def run(fleet: str, repositories: str, folders: list[Path]) -> None:
    """Every site of this process, until the process ends."""
    with ThreadPoolExecutor(FETCHES_AT_A_TIME) as pool:
        async with asyncio.TaskGroup() as tasks:
            for folder in folders:
                agent = LightAgent(folder, fleet, repositories, pool)
                tasks.create_task(agent.client.run())
                await asyncio.sleep(DIAL_SPREAD_S)


def main() -> None:
    """`python -m bench.fleet_agents FLEET REPOSITORIES FOLDER...`"""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fleet, repositories, *folders = sys.argv[1:]
    asyncio.run(run(fleet, repositories, [Path(each) for each in folders]))


if __name__ == "__main__":
    main()
