"""Windows that the centre was to score and has no prediction of: made again from the lake, the newest first.

Enters: which component is scored again, and from when on. Leaves: windows, a bounded step at a time. What is
missing is what the lake's tables say, so that an ingest that was ended meanwhile misses no more than another.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from control_plane.sinks.arrival import CENTRE_STORE, Arrival
from control_plane.sinks.component_rows import ComponentRows
from control_plane.sinks.lake import LakeReader
from shared.envelope import Envelope
from shared.schemas import ComponentId, Telemetry, Window
from shared.window_buffer import MIN_CYCLES, WindowBuffer

LOOK_BACK = timedelta(days=7)  # a long weekend, and somebody who comes back to it
ROWS_MAX = 1_000  # of a step, beside the batch in hand: about 1 s of lake and server
_NEXT = timedelta(microseconds=1)  # between two times of the lake

_PLACE = "site_id = $site_id AND reactor_id = $reactor_id AND component = $component"
_NEWEST = f"""
SELECT max(timestamp) AS newest FROM telemetry WHERE {_PLACE} AND timestamp >= $since AND timestamp < $until
    AND timestamp NOT IN (
        SELECT timestamp FROM predictions WHERE {_PLACE} AND timestamp >= $since AND timestamp < $until)
"""  # noqa: S608 - names that we gave
_TIMES = f"""
SELECT timestamp FROM telemetry WHERE {_PLACE} AND timestamp >= $since AND timestamp < $until
ORDER BY timestamp DESC LIMIT $most
"""  # noqa: S608
_READINGS = f"""
SELECT timestamp, store_id, seq, config_hash, cycle, metrics FROM telemetry
WHERE {_PLACE} AND timestamp >= $since AND timestamp < $until ORDER BY timestamp, seq
"""  # noqa: S608
_PREDICTED = f"""
SELECT DISTINCT timestamp FROM predictions WHERE {_PLACE} AND timestamp >= $since AND timestamp < $until
"""  # noqa: S608
_FIRST = f"""
SELECT min(timestamp) AS first FROM predictions
WHERE {_PLACE} AND starts_with(store_id, '{CENTRE_STORE}') AND timestamp >= $since AND timestamp < $until
"""  # noqa: S608


class Due(NamedTuple):
    """A window to be scored, and the reading that ends it."""

    arrival: Arrival
    window: Window


@dataclass
class _Sweep:
    """What is still to be looked at of a component: from `since`, once that is known, to before `until`."""

    began: datetime
    until: datetime
    since: datetime | None = None


class Step(NamedTuple):
    """Windows of one component, the newest first; `end` is how far the step has looked, None to the end."""

    component: ComponentId
    due: Sequence[Due] = ()
    end: datetime | None = None


class MissedWindows:
    """Of the lake at `lake`. Blocking."""

    def __init__(self, lake: Path) -> None:
        self._lake, self._rows = LakeReader(lake), ComponentRows(lake)
        self._sweeps: dict[ComponentId, _Sweep] = {}  # in the order of their turns

    def begin(self, place: ComponentId, began: datetime, until: datetime) -> None:
        """Look at what was to be scored before `until`: since `began`, where this process began with it, or
        since the centre's first prediction of it, and for LOOK_BACK at most."""
        self._sweeps[place] = _Sweep(began, until)

    def step(self, fresh: Callable[[ComponentId], WindowBuffer]) -> Step | None:
        """The next windows, made in a `fresh` buffer; None when nothing is missing. Retryable
        when the lake cannot be read."""
        for place, sweep in self._sweeps.items():
            since = sweep.since = sweep.since or self._since(place, sweep)
            span = {"since": since, "until": sweep.until, **place._asdict()}
            [row] = self._lake.rows(_NEWEST, **span)
            return self._up_to(row["newest"], since, place, fresh(place)) if row["newest"] else Step(place)
        return None

    def _up_to(self, newest: datetime, since: datetime, place: ComponentId, buffer: WindowBuffer) -> Step:
        """What is missing among the ROWS_MAX readings that end with the newest missing one."""
        most = ROWS_MAX + max(buffer.spec.window_cycles, MIN_CYCLES)  # and those before the first
        until = newest + _NEXT
        rows = self._ask("telemetry", place, _TIMES, since - LOOK_BACK, until, most=most)
        times = [row["timestamp"] for row in rows]
        end = max(times[:ROWS_MAX][-1], since)
        told = self._ask("predictions", place, _PREDICTED, end, until)
        done = {row["timestamp"] for row in told}
        readings = self._ask("telemetry", place, _READINGS, times[-1], until)
        due = _windows(place, buffer, readings, lambda time: time >= end and time not in done)
        return Step(place, due, end if end > since else None)

    def looked(self, place: ComponentId, end: datetime | None) -> None:
        """All from `end` on is done with, None: all; the next step is another component's."""
        sweep = self._sweeps.pop(place)
        if end is not None:
            sweep.until = end
            self._sweeps[place] = sweep

    def _since(self, place: ComponentId, sweep: _Sweep) -> datetime:
        back = sweep.until - LOOK_BACK
        [row] = self._ask("predictions", place, _FIRST, back, sweep.until)
        return max(back, min(sweep.began, row["first"] or sweep.began))

    def _ask(
        self, table: str, place: ComponentId, sql: str, since: datetime, until: datetime, **more: Any
    ) -> list[dict[str, Any]]:
        return self._rows.rows(
            table, place, (since, until), sql, since=since, until=until, **place._asdict(), **more
        )


def _windows(
    place: ComponentId,
    buffer: WindowBuffer,
    rows: Iterable[dict[str, Any]],
    is_missing: Callable[[datetime], bool],
) -> list[Due]:
    """Those that end at a missing time, the newest first; `rows` are in order."""
    due = []
    for row in rows:
        record = Telemetry(
            **place._asdict(), timestamp=row["timestamp"], cycle=row["cycle"], metrics=dict(row["metrics"])
        )
        window = buffer.push(record)
        if window is not None and is_missing(window.timestamp):
            origin = row["store_id"], row["seq"], row["config_hash"]
            envelope = Envelope(Telemetry.SCHEMA, place.site_id, *origin)
            due.append(Due(Arrival(record, b"", envelope), window))
    return due[::-1]
