"""The read model: the lake's newest rows joined with the fleet's configuration, shared by all who look.

However many browsers ask, the lake is looked at once a second, in a thread: its libraries block.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from control_plane.alerts.models import AlertStatus, AlertView
from control_plane.api.component_rules import Newest, component_view, nothing_new_s
from control_plane.api.history import BREAK_AFTER_PERIODS, component_history
from control_plane.api.history_follower import HistoryFollower
from control_plane.api.lake_follower import LAKE_ERRORS, LakeFollower
from control_plane.api.models import (
    AlertList,
    Completeness,
    ComponentHistory,
    ComponentView,
    FleetSnapshot,
    Health,
    Level,
    ReactorView,
    SiteHealth,
    SiteView,
)
from control_plane.api.single_flight import SingleFlight
from control_plane.ingest.completeness import read_accounts
from shared.errors import ConfigError, Retryable
from shared.reactor_config import FleetConfig, Site
from shared.schemas import ComponentId, utc_now

LOOK_PERIOD_S = 1.0  # how old a look at the lake may be when it is shown
COUNT_PERIOD_S = 10.0  # the ledger counts every row that the lake holds
HISTORIES_MAX = 16  # component pages kept up at once; the one longest unused goes first
SITE_SILENT_S = 30.0  # a site reports every 2 s; what is slower than this is not a slow network
ALERTS_LISTED_MAX = 200  # those that are over beyond it are in the lake


class SiteRunning(Protocol):
    """What the fleet service knows of a site that has called."""

    @property
    def site_id(self) -> str: ...
    @property
    def last_seen(self) -> datetime | None: ...


class FleetView:
    """Answers for the whole fleet, a component, its history, the alerts and the health.

    `alerts` is the alarm list, newest first; `sites` the fleet service's list, where it runs in this
    process. Nothing here raises when the lake or the list is away: the answer then says so, and what was
    known ages until it is stale.
    """

    def __init__(
        self,
        lake: Path,
        fleet: FleetConfig,
        alerts: Callable[[], Sequence[AlertView]],
        sites: Callable[[], Sequence[SiteRunning]] = tuple,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._lake, self._fleet, self._sites, self._clock = lake, fleet, sites, clock
        self._alerts: Callable[[], Sequence[AlertView]] = alerts
        self._known_alerts: Sequence[AlertView] = ()
        self._components = fleet.components()
        self._follower = LakeFollower(lake)
        self._look = SingleFlight(self._take_look, LOOK_PERIOD_S)
        self._count = SingleFlight(self._count_rows, COUNT_PERIOD_S)
        self._histories: OrderedDict[tuple[ComponentId, int], SingleFlight[ComponentHistory]] = OrderedDict()

    @property
    def component_ids(self) -> list[ComponentId]:
        """Every component of the configuration, in the file's order."""
        return list(self._components)

    async def snapshot(self) -> FleetSnapshot:
        """The fleet now."""
        return (await self._look.get())[0]

    async def component(self, key: ComponentId) -> ComponentView | None:
        """One component now; None when the configuration does not have it."""
        snapshot = await self.snapshot()
        return next((c for c in snapshot.components if c.key == key.key), None)

    async def alerts(self) -> AlertList:
        """Alerts that need someone, then those shelved, then those over, each newest first."""
        return (await self._look.get())[1]

    async def completeness(self) -> Completeness:
        """What every site produced and what of it arrived."""
        return await self._count.get()

    async def health(self) -> Health:
        """Whether the lake can be read and every site reports."""
        snapshot = await self.snapshot()
        sites = [site.health for site in snapshot.sites]
        well = snapshot.problem is None and all(site.reporting for site in sites)
        return Health(
            status="ok" if well else "degraded",
            taken_at=snapshot.taken_at,
            problem=snapshot.problem,
            sites=sites,
        )

    async def history(self, key: ComponentId, minutes: int) -> ComponentHistory:
        """A component's curves over the last `minutes` (1 to MINUTES_MAX); Retryable when unreadable."""
        wanted = key, minutes
        if wanted not in self._histories:
            self._histories[wanted] = self._history_flight(key, minutes)
        self._histories.move_to_end(wanted)
        while len(self._histories) > HISTORIES_MAX:
            self._histories.popitem(last=False)
        return await self._histories[wanted].get()

    def _history_flight(self, key: ComponentId, minutes: int) -> SingleFlight[ComponentHistory]:
        follower = HistoryFollower(self._lake, key, minutes, self._clock())
        config, site = self._components[key], self._fleet.sites[key.site_id]
        break_after_s = max(BREAK_AFTER_PERIODS * site.plant.poll_period_s, 1.0)

        def load() -> ComponentHistory:
            now = self._clock()
            follower.refresh(now)
            return component_history(
                config,
                follower.telemetry,
                follower.predictions,
                now,
                minutes=minutes,
                break_after_s=break_after_s,
            )

        return SingleFlight(load, LOOK_PERIOD_S)

    def _take_look(self) -> tuple[FleetSnapshot, AlertList]:
        problem = self._refreshed()
        now = self._clock()
        alerts = self._known_alerts
        standing = [alert for alert in alerts if alert.standing]
        shelved = [alert for alert in alerts if alert.status is AlertStatus.SHELVED]
        waiting = [alert for alert in alerts if alert.to_acknowledge and not alert.standing]
        told = [*standing, *shelved]
        sites = [self._site(site_id, site, told, now) for site_id, site in self._fleet.sites.items()]
        components = [c for s in sites for r in s.reactors for c in r.components]
        levels = Counter(c.level for c in components)
        snapshot = FleetSnapshot(
            taken_at=now,
            problem=problem,
            nothing_new_s=nothing_new_s(components),
            counts={level: levels[level] for level in Level},
            standing_alerts=standing,
            shelved_alerts=shelved,
            sites=sites,
        )
        listed = [*standing, *waiting, *shelved]
        over = [alert for alert in alerts if alert.status is AlertStatus.CLEARED]
        listed += over[: max(0, ALERTS_LISTED_MAX - len(listed))]
        return snapshot, AlertList(taken_at=now, problem=problem, alerts=listed)

    def _refreshed(self) -> str | None:
        """Look at the lake and at the alarm list; why one of them could not be read."""
        problem = None
        try:
            self._follower.refresh(self._clock())
        except Retryable as error:
            problem = str(error)
        try:
            self._known_alerts = self._alerts()
        except (Retryable, ConfigError) as error:
            problem = f"The alarm list cannot be read: {error}"
        return problem

    def _count_rows(self) -> Completeness:
        try:
            stores, problem = read_accounts(self._lake), None
        except (Retryable, *LAKE_ERRORS) as error:
            stores, problem = [], str(error)
        return Completeness(taken_at=self._clock(), problem=problem, stores=stores)

    def _site(self, site_id: str, site: Site, told: list[AlertView], now: datetime) -> SiteView:
        state, period_s = self._follower.state, site.plant.poll_period_s
        reactors = []
        for reactor_id, reactor in site.reactors.items():
            components = []
            for name, config in reactor.components.items():
                key = ComponentId(site_id, reactor_id, name)
                own = [a for a in told if (a.site_id, a.reactor_id, a.component) == key]
                newest = Newest(state.telemetry.get(key), state.predictions.get(key), own)
                components.append(component_view(key, config, period_s, newest, now))
            reactors.append(
                ReactorView(reactor_id=reactor_id, reactor_type=reactor.reactor_type, components=components)
            )
        return SiteView(site_id=site_id, health=self._health(site_id, now), reactors=reactors)

    def _health(self, site_id: str, now: datetime) -> SiteHealth:
        row = self._follower.state.status.get(site_id)
        age_s = max(0.0, (now - row["timestamp"]).total_seconds()) if row else None
        seen = next((s.last_seen for s in self._sites() if s.site_id == site_id), None)
        known = {} if row is None else row
        return SiteHealth(
            site_id=site_id,
            reporting=age_s is not None and age_s <= SITE_SILENT_S,
            status_age_s=age_s,
            agent_version=known.get("agent_version"),
            outbox_rows=known.get("outbox_rows"),
            polls=known.get("polls"),
            polls_failed=known.get("polls_failed"),
            rows_given_up=self._follower.state.rows_given_up(site_id),
            service_age_s=max(0.0, (now - seen).total_seconds()) if seen else None,
        )
