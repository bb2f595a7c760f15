"""SIGHUP: the configuration is read again, checked, taken between two polls; a wrong one changes nothing."""

import asyncio
from typing import Final, Protocol

import structlog

from edge_agent.health import Metrics
from edge_agent.outbox import Outbox
from edge_agent.poller import Poller
from edge_agent.recorder import Event, Recorder
from edge_agent.settings import AgentSettings
from edge_agent.site_config import SiteConfig
from shared.errors import ConfigError
from shared.reactor_config import load_fleet
from shared.schemas import AuditEvent

REASON_CHARS_MAX: Final = 2_000  # of a refusal on the record; the log has every problem

log = structlog.get_logger()


class Marks(Protocol):
    """The forwarder's part: which configuration a row was made under."""

    def config_changes(self, after_seq: int, config_hash: str) -> None: ...


class Reloader:
    """Applies what the configuration file says now.

    All of the site's part may change: the plant's address and pace, components, tags, thresholds. What
    the command line said (the site's id, addresses, folders) needs a restart.
    """

    def __init__(
        self,
        settings: AgentSettings,
        poller: Poller,
        recorder: Recorder,
        outbox: Outbox,
        marks: Marks,
        metrics: Metrics,
    ) -> None:
        self._settings, self._poller, self._recorder = settings, poller, recorder
        self._outbox, self._marks, self._metrics = outbox, marks, metrics
        self.refused: str | None = None

    async def reload(self) -> None:
        """One look at the file; the outcome is in the log, on the record and in the metrics."""
        try:
            config = await asyncio.to_thread(self._read)
        except ConfigError as error:
            await self._refuse(error)
            return
        self.refused = None
        if config.hash == self._poller.config.hash:
            self._metrics.reloads.labels("unchanged").inc()
            log.info("configuration read again; nothing in it changed", hash=config.hash)
            return
        await self._apply(config)

    def _read(self) -> SiteConfig:
        """On a thread: a large file takes a while to check."""
        path = self._settings.config
        return SiteConfig.of(load_fleet(path), self._settings.site, str(path))

    async def _refuse(self, error: ConfigError) -> None:
        self.refused = "; ".join(error.problems)
        self._metrics.reloads.labels("refused").inc()
        log.error(
            "configuration refused; the one before stays",
            file=error.source,
            problems=error.problems,
            hash=self._poller.config.hash,
        )
        await self._note(AuditEvent.CONFIG_REFUSED, self._poller.config.hash, self.refused[:REASON_CHARS_MAX])

    async def _apply(self, config: SiteConfig) -> None:
        before = self._poller.config
        async with self._poller.changing(config):
            newest = (await self._outbox.stats()).last_seq
            self._marks.config_changes(newest, config.hash)
            await self._note(AuditEvent.CONFIG_LOADED, config.hash)
        self._metrics.reloads.labels("applied").inc()
        log.info(
            "configuration applied",
            hash=config.hash,
            added=[key.key for key in config.components.keys() - before.components.keys()],
            removed=[key.key for key in before.components.keys() - config.components.keys()],
        )

    async def _note(self, event: AuditEvent, config_hash: str, reason: str | None = None) -> None:
        detail = {"hash": config_hash} | ({"reason": reason} if reason else {})
        await self._recorder.keep([], [Event(event, self._settings.site, detail=dict(detail))])
