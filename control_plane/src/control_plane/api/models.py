"""What the console shows and the JSON API answers. Times are UTC, ages in seconds, RUL in cycles."""

from enum import StrEnum
from typing import Literal

from control_plane.alerts.models import AlertView
from control_plane.ingest.completeness import Account
from shared.schemas import Contribution, Frozen, Quality, RulState, UtcTime


class Freshness(StrEnum):
    """Whether the newest reading may be shown as the present."""

    LIVE = "live"
    STALE = "stale"  # older than the poll periods that may be missed
    CLOCK_AHEAD = "clock_ahead"  # stamped in the future: its age cannot be known
    NEVER = "never"  # no reading has arrived


class Level(StrEnum):
    """How much a component needs a person, most first."""

    ALARM = "alarm"
    WARNING = "warning"
    NO_DATA = "no_data"
    DEGRADED = "degraded"  # a sensor without a number, or no RUL that may be trusted
    NORMAL = "normal"


class Reading(Frozen):
    """One tag: a number or the reason why there is none; `outside` names the fixed limit it crossed."""

    tag: str
    description: str
    unit: str
    range: tuple[float, float] | None
    value: float | None
    quality: Quality | None
    low: float | None
    high: float | None
    outside: Literal["low", "high"] | None


class ModelView(Frozen):
    """The model that made a prediction; `sha256` is that of its bytes, `short` its first 8 digits."""

    name: str
    version: int
    sha256: str
    short: str


class PredictionView(Frozen):
    """The newest answer of the active model. `rul*` are there only in state `ok`.

    `withheld_because` and `contributions` (at most 3) are as in `shared.schemas.Prediction`.
    """

    timestamp: UtcTime
    cycle: int | None
    rul_state: RulState
    rul: float | None
    rul_low: float | None
    rul_high: float | None
    anomaly_score: float | None
    anomaly_threshold: float | None
    is_anomaly: bool
    is_ood: bool
    withheld_because: str | None
    contributions: list[Contribution]
    model: ModelView


class ComponentView(Frozen):
    """A component now. What is not current stands in `last_*` alone, with its time."""

    site_id: str
    reactor_id: str
    component: str
    component_type: str
    freshness: Freshness
    age_s: float | None
    stale_after_s: float
    last_seen: UtcTime | None
    cycle: int | None
    level: Level
    reasons: list[str]
    rul_warning: float
    rul_alarm: float
    readings: list[Reading]
    last_readings: list[Reading]
    prediction: PredictionView | None
    last_prediction: PredictionView | None
    alerts: list[AlertView]

    @property
    def key(self) -> str:
        """`site/reactor/component`."""
        return f"{self.site_id}/{self.reactor_id}/{self.component}"


class ReactorView(Frozen):
    """A reactor and its components, in the order of the configuration."""

    reactor_id: str
    reactor_type: str
    components: list[ComponentView]


class SiteHealth(Frozen):
    """What a site last said of itself. `reporting` is false when that is too long ago, or never was.

    `rows_given_up` counts outbox rows that the site declared lost. `service_age_s` is the age of its last
    word to the fleet service; None where that is not known here.
    """

    site_id: str
    reporting: bool
    status_age_s: float | None
    agent_version: str | None
    outbox_rows: int | None
    polls: int | None
    polls_failed: int | None
    rows_given_up: int
    service_age_s: float | None


class SiteView(Frozen):
    """A site: its health and its reactors."""

    site_id: str
    health: SiteHealth
    reactors: list[ReactorView]


class FleetSnapshot(Frozen):
    """The fleet at one moment. `problem` says why the lake could not be read, when it could not.

    `nothing_new_s`: how long ago anything last arrived, where none of the components is current any more.
    """

    taken_at: UtcTime
    problem: str | None
    nothing_new_s: float | None = None
    counts: dict[Level, int]
    standing_alerts: list[AlertView]
    shelved_alerts: list[AlertView]
    sites: list[SiteView]

    @property
    def components(self) -> list[ComponentView]:
        """Every component, in the order of the configuration."""
        return [c for site in self.sites for reactor in site.reactors for c in reactor.components]


class AlertList(Frozen):
    """Alerts: those that need someone, those shelved, and the newest of those that are over."""

    taken_at: UtcTime
    problem: str | None
    alerts: list[AlertView]


class Completeness(Frozen):
    """Every store's account: what was produced, what arrived, what is explained; see `Account`."""

    taken_at: UtcTime
    problem: str | None
    stores: list[Account]


class Health(Frozen):
    """Whether the console sees what it should: the lake readable and every site reporting."""

    status: Literal["ok", "degraded"]
    taken_at: UtcTime
    problem: str | None
    sites: list[SiteHealth]


Point = tuple[int, float | None]


class TagSeries(Frozen):
    """A tag's curve: `(milliseconds since 1970 UTC, value)`; a None is a break in the line."""

    tag: str
    description: str
    unit: str
    low: float | None
    high: float | None
    points: list[Point]


class RulPoint(Frozen):
    """RUL with its interval, in cycles; all None is a break (nothing was known, or it was withheld)."""

    time_ms: int
    rul: float | None
    low: float | None
    high: float | None


class PredictionLink(Frozen):
    """A prediction by its id, which leads to its entry on the audit record; `rul` in cycles."""

    prediction_id: str
    timestamp: UtcTime
    cycle: int | None
    rul_state: RulState
    rul: float | None


class ComponentHistory(Frozen):
    """A component's last `minutes`, from `start_ms` to `end_ms`; its newest predictions, newest first."""

    minutes: int
    start_ms: int
    end_ms: int
    tags: list[TagSeries]
    rul: list[RulPoint]
    anomaly: list[Point]
    anomaly_threshold: float | None
    newest: list[PredictionLink]


class ComponentPage(Frozen):
    """A component now, and its curves."""

    component: ComponentView
    history: ComponentHistory
