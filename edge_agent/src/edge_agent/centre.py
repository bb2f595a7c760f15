"""What the centre asks of this site, and what the site answers: models, commands, co-signatures.

Enters: the signed repositories' releases, the fleet service's messages. Leaves: scorers to the poller,
acknowledgements to the centre. Never: anything that a poll waits for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog
from packaging.version import InvalidVersion, Version

from edge_agent import __version__, fleet_messages
from edge_agent.health import Metrics
from edge_agent.identity import SiteIdentity
from edge_agent.outbox import Outbox
from edge_agent.poller import Poller
from edge_agent.recorder import Detail, Event, Recorder
from edge_agent.scoring import Scorer
from edge_agent.settings import AgentSettings
from edge_agent.site_people import SitePeople
from edge_agent.trials import Trials
from edge_agent.update import (
    Answer,
    FleetClient,
    HealthLimits,
    ModelSlots,
    Outcome,
    Release,
    ReleaseClient,
    State,
    Updater,
    load_apart,
)
from shared.errors import Untrusted
from shared.schemas import AuditEvent, Manifest, ModelRef
from shared.wire import fleet_pb2

UPDATE_RETRY_S: Final = 2.0  # after a command, while the repositories cannot be fetched
UPDATE_PERIOD_S: Final = 60.0  # a look at the repositories even when the fleet service never calls
JUDGE_PERIOD_S: Final = 1.0  # between two looks at what is tried, at the hold and at the import tray
HEALTH_PERIOD_S: Final = 5.0  # between two reports of what is tried or was committed lately
APART_RETRY_S: Final = 5.0  # before a part that failed unexpectedly begins again
LOADED_MAX: Final = 8  # models kept in memory besides those in use: one on trial a component type

log = structlog.get_logger()


class Centre:
    """This site's dealings with the centre; each part stands apart: none ever stops a poll."""

    def __init__(
        self,
        settings: AgentSettings,
        outbox: Outbox,
        recorder: Recorder,
        poller: Poller,
        metrics: Metrics,
        limits: HealthLimits | None = None,
    ) -> None:
        self._settings, self._outbox = settings, outbox
        self._recorder, self._poller, self._metrics = recorder, poller, metrics
        self._loaded: dict[tuple[str, bytes], Scorer] = {}
        self._probing = False  # until what is committed runs: that was done before its commit
        self._trials = Trials(poller, self._load, limits)
        self._people = SitePeople(settings, recorder)
        identity = self._identity = SiteIdentity.of(settings.data_dir)
        client = ReleaseClient(
            settings.data_dir,
            settings.trust_dir,
            settings.repository,
            settings.site,
            identity.fetcher() if identity else None,
        )
        self._updater = Updater(
            client,
            ModelSlots(settings.data_dir, settings.trust_dir),
            self._install,
            self._record,
            beside=self._trials,
            tell=self._tell,
            held=lambda: self._people.held,
        )
        self._stream = FleetClient(
            settings.fleet,
            self._hello,
            self._on_command,
            self._on_witnessed,
            identity.channel_credentials if identity else None,
        )
        self._away = ""
        self._look = asyncio.Event()
        self.updates_blocked: str | None = None  # why nothing of the repositories is believed

    @property
    def models(self) -> dict[str, ModelRef]:
        """What is scored with, by component type."""
        return {kind: scorer.model_ref for kind, scorer in self._poller.scorers.items()}

    async def resume(self) -> None:
        """Score with what was committed before, verified again."""
        await self._people.look()
        await self._updater.resume()
        self._probing = True

    async def close(self) -> None:
        """The agent was told to end: no model is to blame for it."""
        await self._updater.close()

    async def look_for_updates(self) -> NoReturn:
        """Look at the repositories now and then, for ever."""
        await stand_apart("updates", self._look_for_updates)

    async def follow(self) -> NoReturn:
        """Stay connected to the fleet service, for ever."""
        await stand_apart("fleet stream", self._stream.run)

    async def keep_identity(self) -> NoReturn:
        """Renew this site's certificate in time, for ever, where it is enrolled."""
        await stand_apart("identity", self._keep_identity)

    async def _keep_identity(self) -> None:
        if self._identity is None:
            await asyncio.Event().wait()  # a site is enrolled before its agent starts
        else:
            await self._identity.keep(self._settings.fleet)

    async def judge(self) -> NoReturn:
        """Judge what is tried, for ever, and do what the site's people want."""
        await stand_apart("trials", self._judge)

    async def report(self) -> NoReturn:
        """Tell the centre how what is tried does, for ever."""
        await stand_apart("health reports", self._report)

    async def _look_for_updates(self) -> None:
        while True:
            self._look.clear()
            await self._apply()
            try:
                await asyncio.wait_for(self._look.wait(), UPDATE_PERIOD_S)
            except TimeoutError:
                continue

    async def _import(self, source: ReleaseClient) -> Outcome:
        """Whoever brought it is answered; only a good look has to do with the next one over the network."""
        outcome = await self._updater.apply(source)
        if not outcome.away and not outcome.problem:
            self.updates_blocked = None
        return outcome

    async def _apply(self) -> Outcome:
        outcome = await self._updater.apply()
        away = outcome.away or ""
        if away and not self._away:
            log.warning("no look at the repositories", reason=away)
        elif self._away and not away:
            log.info("the repositories can be fetched again")
        self._away = away
        if not away:
            self.updates_blocked = outcome.problem
        return outcome

    async def _judge(self) -> None:
        while True:
            held = self._people.held
            await self._people.look()
            if held and not self._people.held:
                self._look.set()  # what was held may come in now
            await self._people.import_with(self._import)
            await self._updater.judge()
            await asyncio.sleep(JUDGE_PERIOD_S)

    async def _report(self) -> None:
        while True:
            for state, releases in (
                (State.TRYING, self._updater.trials),
                (State.COMMITTED, self._updater.watched),
            ):
                for kind, release in releases.items():
                    found = self._trials.comparison(kind)
                    self._stream.send(fleet_messages.health_report(release, state, found))
            await asyncio.sleep(HEALTH_PERIOD_S)

    # --- models -----------------------------------------------------------------------------------

    async def _load(self, release: Release) -> Scorer:
        """Checked in a process of its own, then here; what was loaded lately is not loaded again."""
        manifest, key = release.manifest, (release.sha256, release.manifest_bytes)
        _check_agent_version(manifest)
        if key not in self._loaded:
            if self._probing:
                await asyncio.to_thread(load_apart, release)
            self._loaded[key] = await asyncio.to_thread(Scorer.load, manifest, release.model)
            for oldest in list(self._loaded)[:-LOADED_MAX]:
                del self._loaded[oldest]
        return self._loaded[key]

    async def _install(self, release: Release) -> None:
        """Golden check on this machine, then score with it; Untrusted keeps the model in use."""
        self._poller.use(release.manifest.component_type, await self._load(release))

    async def _record(self, event: AuditEvent, detail: Detail) -> None:
        if event in (AuditEvent.MODEL_REFUSED, AuditEvent.MODEL_ROLLED_BACK):
            self._metrics.models_refused.labels(detail["check"]).inc()
        await self._recorder.keep([], [Event(event, self._settings.site, detail=detail)])

    # --- the fleet service ------------------------------------------------------------------------

    def _tell(self, answer: Answer) -> None:
        self._stream.send(fleet_messages.acknowledgement(answer, self.models))

    async def _on_command(self, command: fleet_pb2.Command) -> None:
        """Look at the repositories because the centre says so. What changes is told as it changes; here what
        stands already is said again, and that nothing is known of this command."""
        before = self._updater.answers
        outcome = await self._apply()
        while outcome.away:
            await asyncio.sleep(UPDATE_RETRY_S)
            outcome = await self._apply()
        for answer in self._updater.answers:
            if answer.rollout_id == command.rollout_id and not outcome.problem:
                if answer in before:
                    self._tell(answer)
                return
        _, reason = outcome.answer(command.rollout_id)
        if not outcome.problem:
            await self._updater.unknown(command.rollout_id, reason)
        self._stream.send(fleet_messages.refusal(command, reason, self.models))

    async def _on_witnessed(self, size: int, note: str) -> None:
        """Keep the centre's co-signature beside the log: this site's proof of what it sent."""
        path = self._settings.data_dir / "witnessed.note"
        temporary = path.with_suffix(".new")
        await asyncio.to_thread(temporary.write_text, note)
        temporary.rename(path)
        log.debug("checkpoint co-signed", size=size)

    def _hello(self) -> fleet_pb2.Hello:
        if not self._stream.connected:  # a new stream: what was told on the last one may not have arrived
            for answer in self._updater.answers:
                self._tell(answer)
        return fleet_pb2.Hello(
            site_id=self._settings.site,
            agent_version=__version__,
            store_id=self._outbox.store_id,
            audit_public_key=str(self._recorder.log.verifier),
            models=fleet_messages.running_models(self.models),
            trials=fleet_messages.trials(self._updater.trials.values()),
        )


def _check_agent_version(manifest: Manifest) -> None:
    try:
        suits = Version(manifest.oldest_agent_version) <= Version(__version__)
    except InvalidVersion:
        suits = False
    if not suits:
        needs = f"{manifest.folder} needs {manifest.oldest_agent_version}"
        raise Untrusted("agent version", f"{needs}; this agent is {__version__}")


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
