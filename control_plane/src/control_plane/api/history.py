"""A component's curves: rows in, breaks where nothing was known, thinned to what a screen can show.

Thinning keeps each bucket's lowest and highest value, so that no spike disappears.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from control_plane.api.component_rules import finite
from control_plane.api.models import ComponentHistory, Point, PredictionLink, RulPoint, TagSeries
from shared.reactor_config import Component
from shared.schemas import RulState

MINUTES_MAX = 60  # longer spans want aggregates made by the lake, not rows
BUCKETS_MAX = 240  # two points each: what a chart of 600 pixels can tell apart
NEWEST_MAX = 8  # predictions that are listed by id: what somebody asks about has just been seen
BREAK_AFTER_PERIODS = 3  # polls missing in a row before a line would invent what lay between

Row = dict[str, Any]


def component_history(
    config: Component,
    telemetry: Sequence[Row],
    predictions: Sequence[Row],
    end: datetime,
    *,
    minutes: int,
    break_after_s: float,
) -> ComponentHistory:
    """The curves of the `minutes` before `end`; rows in order of time."""
    start = end - timedelta(minutes=minutes)
    limits = config.thresholds.limits
    tags = [
        TagSeries(
            tag=name,
            description=tag.description,
            unit=tag.unit,
            low=limits[name].low if name in limits else None,
            high=limits[name].high if name in limits else None,
            points=thinned(curve(telemetry, _metric(name), break_after_s), start, end),
        )
        for name, tag in config.tags.items()
    ]
    return ComponentHistory(
        minutes=minutes,
        start_ms=_ms(start),
        end_ms=_ms(end),
        tags=tags,
        rul=_rul(predictions, start, end, break_after_s),
        anomaly=thinned(curve(predictions, lambda row: row["anomaly_score"], break_after_s), start, end),
        anomaly_threshold=finite(predictions[-1]["anomaly_threshold"]) if predictions else None,
        newest=[_link(row) for row in reversed(predictions[-NEWEST_MAX:])],
    )


def _link(row: Row) -> PredictionLink:
    return PredictionLink(
        rul=finite(row["rul"]) if row["rul_state"] == RulState.OK else None,
        **{name: row[name] for name in ("prediction_id", "timestamp", "cycle", "rul_state")},
    )


def curve(rows: Sequence[Row], value: Callable[[Row], float | None], break_after_s: float) -> list[Point]:
    """One value per row; None where it is bad, and between rows further apart than `break_after_s`."""
    points: list[Point] = []
    for row, broken_at_ms in _with_breaks(rows, break_after_s):
        if broken_at_ms is not None:
            points.append((broken_at_ms, None))
        points.append((_ms(row["timestamp"]), finite(value(row))))
    return points


def _with_breaks(rows: Sequence[Row], break_after_s: float) -> Iterator[tuple[Row, int | None]]:
    """Each row, and where the line breaks before it. Slow cycles make longer steps, not breaks."""
    times_ms = [_ms(row["timestamp"]) for row in rows]
    steps_ms = [later - earlier for earlier, later in pairwise(times_ms)]
    usual_ms = median(steps_ms) if steps_ms else 0.0
    limit_ms = max(break_after_s * 1000, BREAK_AFTER_PERIODS * usual_ms)
    for index, row in enumerate(rows):
        broken = index > 0 and steps_ms[index - 1] > limit_ms
        yield row, times_ms[index - 1] + 1 if broken else None


def thinned(points: Sequence[Point], start: datetime, end: datetime) -> list[Point]:
    """At most two numbers a bucket (its lowest and highest, at their own times), and its breaks."""
    if len(points) <= 2 * BUCKETS_MAX:
        return list(points)
    width_ms = max(1.0, (_ms(end) - _ms(start)) / BUCKETS_MAX)
    buckets: dict[int, list[Point]] = {}
    for point in points:
        buckets.setdefault(int((point[0] - _ms(start)) // width_ms), []).append(point)
    kept: list[Point] = []
    for _, bucket in sorted(buckets.items()):
        kept += _extremes(bucket)
    return kept


def _extremes(bucket: Sequence[Point]) -> list[Point]:
    numbers = [(value, time_ms) for time_ms, value in bucket if value is not None]
    breaks = [point for point in bucket if point[1] is None][-1:]
    ends = {min(numbers), max(numbers)} if numbers else set()
    return sorted([*breaks, *((time_ms, value) for value, time_ms in ends)], key=lambda point: point[0])


def _rul(predictions: Sequence[Row], start: datetime, end: datetime, break_after_s: float) -> list[RulPoint]:
    """RUL with its interval; where thinned, each bucket's last answer stands for it."""
    points: list[RulPoint] = []
    for row, broken_at_ms in _with_breaks(predictions, break_after_s):
        if broken_at_ms is not None:
            points.append(RulPoint(time_ms=broken_at_ms, rul=None, low=None, high=None))
        known = row["rul_state"] == RulState.OK
        rul, low, high = (finite(row[name]) if known else None for name in ("rul", "rul_low", "rul_high"))
        points.append(RulPoint(time_ms=_ms(row["timestamp"]), rul=rul, low=low, high=high))
    if len(points) <= 2 * BUCKETS_MAX:
        return points
    width_ms = max(1.0, (_ms(end) - _ms(start)) / BUCKETS_MAX)
    last = {(int(p.time_ms // width_ms), p.rul is None): p for p in points}
    return sorted(last.values(), key=lambda p: p.time_ms)


def _metric(name: str) -> Callable[[Row], float | None]:
    return lambda row: row["metrics"].get(name)


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)
