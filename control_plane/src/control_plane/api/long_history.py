"""A component's history over months: DuckDB sums rows up in buckets, so that no spike vanishes.

Each bucket keeps the lowest, the highest and the mean value. Of the lake only those
files of the component are opened that can hold rows of the span.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from control_plane.api.component_rules import finite
from control_plane.api.history import BREAK_AFTER_PERIODS
from control_plane.api.history_models import Buckets, BucketSeries, LongHistory
from control_plane.api.lake_follower import LAKE_ERRORS
from control_plane.sinks.component_rows import ComponentRows
from control_plane.sinks.lake_place import plain
from shared.errors import Rejected, Retryable
from shared.reactor_config import Component, FleetConfig, Tag
from shared.schemas import ComponentId

POINTS_MIN, POINTS_MAX = 10, 2_000  # of a series: a wide screen has that many pixels
POINTS_DEFAULT = 600  # what a chart on a page can tell apart
SPAN_MIN = timedelta(seconds=1)  # below it there is nothing to see
SPAN_MAX = timedelta(days=3_660)  # ten years: what a plant keeps
QUESTIONS_MAX = 2  # at once: each uses every core
BREAK_MIN_S = 1.0  # a shorter silence is jitter

_RUL = {name: f"CASE WHEN rul_state = 'ok' THEN {name} END" for name in ("rul", "rul_low", "rul_high")}
_SCORES = {name: name for name in ("anomaly_score", "anomaly_threshold")}

Row = dict[str, Any]


class Span(NamedTuple):
    """From `start` to before `end`, aware, in at most `points` points a series."""

    start: datetime
    end: datetime
    points: int = POINTS_DEFAULT

    def check(self) -> None:
        """Rejected, in words for whoever asked."""
        if not SPAN_MIN <= self.end - self.start <= SPAN_MAX:
            raise Rejected(
                f"from {self.start:%Y-%m-%dT%H:%M:%SZ} to {self.end:%Y-%m-%dT%H:%M:%SZ}: "
                f"`from` must be before `to`, by 1 second to {SPAN_MAX.days} days"
            )
        if not POINTS_MIN <= self.points <= POINTS_MAX:
            raise Rejected(f"points {self.points}: between {POINTS_MIN} and {POINTS_MAX}")

    @property
    def start_ms(self) -> int:
        """In milliseconds since 1970."""
        return int(self.start.timestamp() * 1000)

    @property
    def end_ms(self) -> int:
        """In milliseconds since 1970."""
        return int(self.end.timestamp() * 1000)

    @property
    def bucket_ms(self) -> int:
        """The width of a bucket, rounded up so that there are never more than `points`."""
        return max(1, -((self.start_ms - self.end_ms) // self.points))


class HistoryDesk:
    """Answers for any span, in threads, few questions at a time."""

    def __init__(self, lake: Path, fleet: FleetConfig) -> None:
        self._lake, self._fleet = ComponentRows(lake), fleet
        self._components = fleet.components()
        self._turns = asyncio.Semaphore(QUESTIONS_MAX)

    def knows(self, key: ComponentId) -> bool:
        """Whether the configuration has it."""
        return key in self._components

    def tags(self, key: ComponentId) -> dict[str, Tag]:
        """A known component's tags, as configured."""
        return self._components[key].tags

    async def history(self, key: ComponentId, span: Span) -> LongHistory:
        """A known component's history; Rejected for a span or points out of bounds, Retryable when the lake
        cannot be read."""
        span.check()
        async with self._turns:
            try:
                return await asyncio.to_thread(self._history, key, span)
            except LAKE_ERRORS as error:
                raise Retryable(f"the history of {key.key} cannot be read: {plain(error)}") from error

    def _history(self, key: ComponentId, span: Span) -> LongHistory:
        config = self._components[key]
        period_s = self._fleet.sites[key.site_id].plant.poll_period_s
        columns = {tag: f"metrics[$tag{number}]" for number, tag in enumerate(config.tags)}
        tags = {f"tag{number}": tag for number, tag in enumerate(config.tags)}
        telemetry = self._rows("telemetry", columns, key, span, tags)
        predictions = self._rows("predictions", _RUL | _SCORES, key, span, {"mode": "active"})
        return LongHistory(
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            bucket_ms=span.bucket_ms,
            raw=all(row["held"] == 1 for row in (*telemetry, *predictions)),
            telemetry=buckets(telemetry, _tag_series(config), period_s),
            predictions=buckets(predictions, _PREDICTED, period_s),
        )

    def _rows(
        self, table: str, columns: Mapping[str, str], key: ComponentId, span: Span, more: Mapping[str, str]
    ) -> list[Row]:
        """One row a bucket; one a row of the table where there are no more of these than points."""
        sql = bucket_sql(table, list(columns.values()), "mode" in more)
        asked = {**key._asdict(), **more, "start": span.start, "end": span.end, "start_ms": span.start_ms}
        found = self._lake.rows(table, key, (span.start, span.end), sql, **asked, bucket_ms=span.bucket_ms)
        if len(found) < sum(row["held"] for row in found) <= span.points:
            found = self._lake.rows(table, key, (span.start, span.end), sql, **asked, bucket_ms=1)
        return found


def bucket_sql(table: str, columns: Sequence[str], by_mode: bool) -> str:
    """The question for `columns` (SQL expressions over `table`): `low0`, `high0`, `mean0` for the first."""
    values = ", ".join(f"{column} AS value{number}" for number, column in enumerate(columns))
    sums = ", ".join(
        f"{name}(value{number}) FILTER (WHERE isfinite(value{number})) AS {column}{number}"
        for number in range(len(columns))
        for name, column in (("min", "low"), ("max", "high"), ("avg", "mean"))
    )
    mode = "AND mode = $mode" if by_mode else ""
    return f"""
        SELECT min(time_ms) AS first_ms, max(time_ms) AS last_ms, count(*) AS held, {sums}
        FROM (
            SELECT epoch_ms(timestamp) AS time_ms, {values} FROM {table}
            WHERE site_id = $site_id AND component = $component AND reactor_id = $reactor_id {mode}
              AND timestamp >= $start AND timestamp < $end
        )
        GROUP BY (time_ms - $start_ms) // $bucket_ms ORDER BY first_ms"""  # noqa: S608 - names of our own


def buckets(rows: Sequence[Row], series: Sequence[BucketSeries], poll_period_s: float) -> Buckets:
    """The answer's rows as columns, with a bucket of 0 rows where the component was silent."""
    limit_ms = _break_after_ms(rows, poll_period_s)
    filled: list[Row] = []
    for row in rows:
        if filled and row["first_ms"] - filled[-1]["last_ms"] > limit_ms:
            filled.append({"first_ms": filled[-1]["last_ms"] + 1, "held": 0})
        filled.append(row)
    return Buckets(
        time_ms=[row["first_ms"] for row in filled],
        rows=[row["held"] for row in filled],
        series=[_filled(each, number, filled) for number, each in enumerate(series)],
    )


def _filled(series: BucketSeries, number: int, rows: Sequence[Row]) -> BucketSeries:
    columns = {name: [finite(row.get(f"{name}{number}")) for row in rows] for name in ("low", "high", "mean")}
    return series.model_copy(update=columns)


def _break_after_ms(rows: Sequence[Row], poll_period_s: float) -> float:
    """The longest silence that is none. Slow cycles make longer steps, not gaps."""
    within = [(row["last_ms"] - row["first_ms"]) / (row["held"] - 1) for row in rows if row["held"] > 1]
    steps = within or [later["first_ms"] - earlier["first_ms"] for earlier, later in pairwise(rows)]
    usual_ms = max(median(steps) if steps else 0.0, poll_period_s * 1000)
    return max(BREAK_AFTER_PERIODS * usual_ms, BREAK_MIN_S * 1000)


def _empty(name: str, description: str, unit: str, **limits: float | None) -> BucketSeries:
    return BucketSeries(name=name, description=description, unit=unit, low=[], high=[], mean=[], **limits)


_PREDICTED = [
    _empty("rul", "Remaining useful life", "cycles"),
    _empty("rul_low", "Lower end of its interval", "cycles"),
    _empty("rul_high", "Upper end of its interval", "cycles"),
    _empty("anomaly_score", "Anomaly score", ""),
    _empty("anomaly_threshold", "Anomaly threshold", ""),
]


def _tag_series(config: Component) -> list[BucketSeries]:
    limits = config.thresholds.limits
    return [
        _empty(
            name,
            tag.description,
            tag.unit,
            lower_limit=limits[name].low if name in limits else None,
            upper_limit=limits[name].high if name in limits else None,
        )
        for name, tag in config.tags.items()
    ]
