"""What the centre asks of this site, and what the site answers: models, commands, co-signatures.

Enters: the signed repositories' releases, the fleet service's messages. Leaves: scorers to the poller,
acknowledgements to the centre. Never: anything that a poll waits for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog
from packaging.version import Version

from edge_agent import __version__
from edge_agent.health import Metrics
from edge_agent.outbox import Outbox
from edge_agent.poller import Poller
from edge_agent.recorder import Detail, Event, Recorder
from edge_agent.scoring import Scorer
from edge_agent.settings import AgentSettings
from edge_agent.update import FleetClient, ModelSlots, Release, ReleaseClient, Updater
from shared.errors import Untrusted
from shared.schemas import AuditEvent, ModelRef
from shared.wire import fleet_pb2

UPDATE_RETRY_S: Final = 2.0  # after a command, while the repositories cannot be fetched
UPDATE_PERIOD_S: Final = 60.0  # a look at the repositories even when the fleet service never calls
APART_RETRY_S: Final = 5.0  # before a part that failed unexpectedly begins again

log = structlog.get_logger()


class Centre:
    """This site's dealings with the centre; each part stands apart: none ever stops a poll."""

    def __init__(
        self, settings: AgentSettings, outbox: Outbox, recorder: Recorder, poller: Poller, metrics: Metrics
    ) -> None:
        self._settings, self._outbox = settings, outbox
        self._recorder, self._poller, self._metrics = recorder, poller, metrics
        client = ReleaseClient(settings.data_dir, settings.trust_dir, settings.repository, settings.site)
        slots = ModelSlots(settings.data_dir, settings.trust_dir)
        self._updater = Updater(client, slots, self._install, self._record)
        self._stream = FleetClient(settings.fleet, self._hello, self._on_command, self._on_witnessed)
        self._away = False
        self.models: dict[str, ModelRef] = {}

    async def resume(self) -> None:
        """Score with what was committed before, verified again."""
        await self._updater.resume()

    async def look_for_updates(self) -> NoReturn:
        """Look at the repositories now and then, for ever."""
        await stand_apart("updates", self._look_for_updates)

    async def follow(self) -> NoReturn:
        """Stay connected to the fleet service, for ever."""
        await stand_apart("fleet stream", self._stream.run)

    async def _look_for_updates(self) -> None:
        while True:
            away = (await self._updater.apply()).away
            if away and not self._away:
                log.warning("no look at the repositories", reason=away)
            elif self._away and not away:
                log.info("the repositories can be fetched again")
            self._away = bool(away)
            await asyncio.sleep(UPDATE_PERIOD_S)

    async def _install(self, release: Release) -> None:
        """Golden check on this machine, then score with it; Untrusted keeps the model in use."""
        manifest = release.manifest
        if Version(manifest.oldest_agent_version) > Version(__version__):
            raise Untrusted(
                "agent version",
                f"{manifest.folder} needs {manifest.oldest_agent_version}; this agent is {__version__}",
            )
        scorer = await asyncio.to_thread(Scorer.load, manifest, release.model)
        self._poller.use(manifest.component_type, scorer)
        self.models[manifest.component_type] = scorer.model_ref

    async def _record(self, event: AuditEvent, detail: Detail) -> None:
        if event is AuditEvent.MODEL_REFUSED:
            self._metrics.models_refused.labels(detail["check"]).inc()
        await self._recorder.keep([], [Event(event, self._settings.site, detail=detail)])

    async def _on_command(self, command: fleet_pb2.Command) -> None:
        """Look at the repositories because the centre says so; the answer says what came of it."""
        outcome = await self._updater.apply()
        while outcome.away:
            await asyncio.sleep(UPDATE_RETRY_S)
            outcome = await self._updater.apply()
        committed, detail = outcome.answer(command.rollout_id)
        answer = fleet_pb2.Acknowledgement
        told = answer(
            rollout_id=command.rollout_id,
            generation=command.generation,
            state=answer.COMMITTED if committed else answer.REFUSED,
            detail=detail,
            models=self._running(),
        )
        self._stream.send(fleet_pb2.SiteMessage(acknowledgement=told))

    async def _on_witnessed(self, size: int, note: str) -> None:
        """Keep the centre's co-signature beside the log: this site's proof of what it sent."""
        path = self._settings.data_dir / "witnessed.note"
        temporary = path.with_suffix(".new")
        await asyncio.to_thread(temporary.write_text, note)
        temporary.rename(path)
        log.debug("checkpoint co-signed", size=size)

    def _hello(self) -> fleet_pb2.Hello:
        return fleet_pb2.Hello(
            site_id=self._settings.site,
            agent_version=__version__,
            store_id=self._outbox.store_id,
            audit_public_key=str(self._recorder.log.verifier),
            models=self._running(),
        )

    def _running(self) -> list[fleet_pb2.RunningModel]:
        return [
            fleet_pb2.RunningModel(component_type=kind, name=ref.name, version=ref.version, sha256=ref.sha256)
            for kind, ref in self.models.items()
        ]


async def stand_apart(name: str, work: Callable[[], Awaitable[None]]) -> NoReturn:
    """What deals with the network may fail in ways nobody thought of: never may the polls."""
    failed = ""
    while True:
        try:
            await work()
        except Exception as error:
            if repr(error) != failed:  # said once for as long as it stays the same
                failed = repr(error)
                log.exception("failed; begins again, the site goes on", part=name)
        await asyncio.sleep(APART_RETRY_S)
