"""What the lake holds of one component: counts and newest rows, each one question."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from control_plane.api.lake_follower import PREDICTIONS, TELEMETRY
from control_plane.sinks.lake import LakeReader
from shared.schemas import ComponentId

Row = dict[str, Any]

_OF = "site_id = $site_id AND reactor_id = $reactor_id AND component = $component"
_ACTIVE = f"{_OF} AND mode = 'active'"
_SPAN = "SELECT min(timestamp) AS first, max(timestamp) AS last, count(*) AS rows FROM"
_POLLED = f"{_SPAN} telemetry WHERE {_OF}"
_SCORED = f"{_SPAN} predictions WHERE {_ACTIVE}"
_NEWEST = "timestamp = $last ORDER BY seq DESC LIMIT 1"
_READING = f"SELECT {', '.join(TELEMETRY)} FROM telemetry WHERE {_OF} AND {_NEWEST}"  # noqa: S608 - names of ours
_ANSWER = f"SELECT {', '.join(PREDICTIONS)} FROM predictions WHERE {_ACTIVE} AND {_NEWEST}"  # noqa: S608
_GOOD = f"""SELECT tag, count(*) AS rows FROM (
    SELECT unnest(map_keys(metrics)) AS tag FROM telemetry WHERE {_OF}) GROUP BY tag"""  # noqa: S608
_BAD = f"""SELECT each.key AS tag, each.value AS reason, count(*) AS rows FROM (
    SELECT unnest(map_entries(quality)) AS each FROM telemetry WHERE {_OF}) GROUP BY ALL"""  # noqa: S608
_SAID = f"""SELECT rul_state, withheld_because, count(*) AS rows,
    count(*) FILTER (WHERE is_anomaly) AS anomalies FROM predictions
    WHERE {_ACTIVE} GROUP BY ALL ORDER BY rows DESC"""  # noqa: S608
_COUNTS = f"""SELECT (SELECT count(*) FROM predictions WHERE {_OF}) AS predictions,
    (SELECT count(*) FROM audit
        WHERE site_id = $site_id AND event = 'prediction' AND subject = $key) AS entries,
    (SELECT count(DISTINCT alert_id) FROM alerts WHERE {_OF}) AS alerts"""  # noqa: S608

_CHANGES = f"""SELECT alert_id, timestamp, state, severity, message, operator, reason FROM alerts
    WHERE {_OF} ORDER BY timestamp, seq"""  # noqa: S608


class TagQuality(NamedTuple):
    """How often a tag was polled with a number, and how often without one, by reason."""

    good: int
    bad: Mapping[str, int]

    @property
    def share_bad(self) -> float:
        """Of all polls that say anything of it; 0 where none does."""
        polled = self.good + sum(self.bad.values())
        return sum(self.bad.values()) / polled if polled else 0.0


class LakeFacts(NamedTuple):
    """`telemetry` and `prediction` are the newest rows (the latter of the active model), None where there is
    none; `said` counts the active model's answers by state and reason; `entries` are audit entries of
    predictions, and `predictions` those in the lake, shadows included; `alert_rows` are the transitions
    of alerts, oldest first."""

    first: datetime | None
    last: datetime | None
    rows: int
    telemetry: Row | None
    prediction: Row | None
    tags: Mapping[str, TagQuality]
    said: list[Row]
    predictions: int
    entries: int
    alerts: int
    alert_rows: list[Row]


def lake_facts(reader: LakeReader, place: ComponentId) -> LakeFacts:
    """All of it; Retryable while the lake has no tables."""
    asked = place._asdict()
    [polled], [scored] = reader.rows(_POLLED, **asked), reader.rows(_SCORED, **asked)
    [counts] = reader.rows(_COUNTS, **asked, key=place.key)
    return LakeFacts(
        first=min((each for each in (polled["first"], scored["first"]) if each), default=None),
        last=max((each for each in (polled["last"], scored["last"]) if each), default=None),
        rows=polled["rows"],
        telemetry=next(iter(reader.rows(_READING, **asked, last=polled["last"])), None),
        prediction=next(iter(reader.rows(_ANSWER, **asked, last=scored["last"])), None),
        tags=_tags(reader, asked),
        said=reader.rows(_SAID, **asked),
        alert_rows=reader.rows(_CHANGES, **asked),
        **counts,
    )


def _tags(reader: LakeReader, asked: Mapping[str, str]) -> dict[str, TagQuality]:
    good = {row["tag"]: row["rows"] for row in reader.rows(_GOOD, **asked)}
    bad: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in reader.rows(_BAD, **asked):
        bad[row["tag"]][row["reason"]] = row["rows"]
    return {tag: TagQuality(good.get(tag, 0), bad.get(tag, {})) for tag in {*good, *bad}}
