"""When an operator is told: one alert for one event. Pure: times are those of the records, or given.

Each alarm point of a component is a state machine (`alarm_point`) that is fed with what each record says
of it (`findings`). Points of one component that are abnormal together are one event: alerts of anomaly, RUL
and limits share the id of the first of them, and so do those of its sensors, whose cause is another.
What stands, what is latched and what is shelved is a note that outlives the process.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from edge_agent.scoring.alarm_point import AlarmPoint, Phase, Shelf
from edge_agent.scoring.findings import Finding, PointId, is_point, of_limits, of_prediction, of_sensors
from shared.alarm_config import AlarmSettings
from shared.reactor_config import Component
from shared.schemas import (
    Alert,
    AlertKind,
    AlertState,
    ComponentId,
    Frozen,
    Prediction,
    Telemetry,
    UtcTime,
)

CLOCK_BACK_MAX = timedelta(minutes=1)  # set back further, a clock says nothing of when a shelving ends


class Noted(Frozen):
    """One point as it is kept: where it stands, since when, and what was last to be said of it."""

    phase: Phase
    raised_at: UtcTime
    chatter: int
    last: Alert
    shelf: Shelf | None = None


_NOTE = TypeAdapter(list[Noted])


def read_note(note: str) -> list[Noted]:
    """What a component's note says; an empty one says that nothing stands."""
    return _NOTE.validate_json(note) if note else []


class _Point:
    """An alarm point and its alert."""

    def __init__(self, settings: AlarmSettings) -> None:
        self.machine = AlarmPoint(settings)
        self.last: Alert | None = None
        self.raised_at: datetime | None = None


class AlertRules:
    """The alerts of one component; fed with every reading and every prediction, in order.

    `changed` says that `note` says something else than when it was last asked.
    """

    def __init__(self, component_id: ComponentId, component: Component) -> None:
        self._id = component_id
        self._component = component
        self._points: dict[PointId, _Point] = {}
        self.changed = False

    # --- what the plant does ----------------------------------------------------------------------

    def update(self, record: Telemetry | Prediction) -> list[Alert]:
        """Transitions that this record leads to."""
        found: list[Alert] = []
        for finding in list(self._findings(record)):
            found += self._step(finding, record.timestamp, record.cycle)
        return found

    def _findings(self, record: Telemetry | Prediction) -> Iterator[Finding]:
        if isinstance(record, Prediction):
            yield from of_prediction(record, self._component, self._stands)
        else:
            yield from of_sensors(record, [p.subject for p in self._points if p.kind is AlertKind.SENSOR])
            yield from of_limits(record, self._component, self._stands)

    def _stands(self, point: PointId) -> bool:
        return point in self._points and self._points[point].machine.standing

    def _step(self, finding: Finding, now: datetime, cycle: int | None) -> list[Alert]:
        point = self._points.get(finding.point)
        if point is None:
            if finding.severity is None:
                return []
            point = self._points[finding.point] = self._new(finding.point)
        machine = point.machine
        before = machine.phase, machine.severity, machine.alert_id
        states = machine.step(finding.severity)
        if machine.quiet:
            del self._points[finding.point]
        if (machine.phase, machine.severity, machine.alert_id) == before:
            return []
        self.changed = True
        if not machine.remembered:
            return []
        return self._told(point, finding, states, now, cycle)

    def _new(self, point: PointId) -> _Point:
        kinds = self._component.alarms
        settings: dict[AlertKind, AlarmSettings] = {
            AlertKind.ANOMALY: kinds.anomaly,
            AlertKind.RUL_LOW: kinds.rul_low,
            AlertKind.LIMIT: kinds.limit,
            AlertKind.SENSOR: kinds.sensor,
        }
        return _Point(settings[point.kind])

    def _told(
        self, point: _Point, finding: Finding, states: list[AlertState], now: datetime, cycle: int | None
    ) -> list[Alert]:
        """The alert in each of these states; in silence what is last known of it changes all the same."""
        machine, last = point.machine, point.last
        assert machine.alert_id is not None  # noqa: S101 - remembered
        if last is None or last.alert_id != machine.alert_id:
            point.raised_at, point.last, last = now, None, None
        alert = Alert(
            timestamp=now if last is None else max(now, last.timestamp),
            **self._id._asdict(),
            alert_id=machine.alert_id,
            event_id=last.event_id if last else self._event(finding.point.kind) or machine.alert_id,
            kind=finding.point.kind,
            severity=machine.severity,
            state=AlertState.SHELVED if machine.shelf else states[-1],
            cycle=cycle,
            subject=finding.point.subject,
            value=finding.value,
            threshold=finding.threshold,
            message=finding.message,
        )
        point.last = alert
        return [alert.model_copy(update={"state": state}) for state in states]

    def _event(self, kind: AlertKind) -> str | None:
        """The event that goes on: of a point of the same cause which has an alert, or had one lately."""
        is_sensor = kind is AlertKind.SENSOR
        for point, known in self._points.items():
            if known.last and known.machine.remembered and (point.kind is AlertKind.SENSOR) == is_sensor:
                return known.last.event_id
        return None

    # --- what an operator does --------------------------------------------------------------------

    @property
    def alert_ids(self) -> list[str]:
        """Every alert that stands, is latched or is shelved."""
        machines = [point.machine for point in self._points.values()]
        return [m.alert_id for m in machines if m.alert_id and (m.shelf or m.phase is not Phase.NORMAL)]

    def shelve(self, alert_id: str, shelf: Shelf) -> list[Alert]:
        """Put an alert aside; ValueError says why not. Asked for twice by one request it is done once."""
        point = self._point_of(alert_id)
        if point.machine.shelf and shelf.request and point.machine.shelf.request == shelf.request:
            return []
        shelf = shelf._replace(severity=point.machine.severity)
        states = point.machine.shelve(shelf)
        return self._done(point, states, shelf.since, shelf.operator, shelf.reason, shelf.until)

    def unshelve(self, alert_id: str, operator: str, reason: str, now: datetime) -> list[Alert]:
        """End a shelving; ValueError says why not."""
        point = self._point_of(alert_id)
        return self._done(point, point.machine.unshelve(), now, operator, reason)

    def reset(self, alert_id: str, operator: str, reason: str, now: datetime) -> list[Alert]:
        """End a latched alert that has returned to normal; ValueError says why not."""
        point = self._point_of(alert_id)
        return self._done(point, point.machine.reset(), now, operator, reason)

    def expire(self, now: datetime) -> list[Alert]:
        """End the shelvings whose time is over; a clock that was set back ends them too."""
        found: list[Alert] = []
        for point in self._points.values():
            shelf = point.machine.shelf
            if shelf and not shelf.since - CLOCK_BACK_MAX <= now < shelf.until:
                found += self._done(point, point.machine.unshelve(), now, reason="the time is over")
        return found

    def _point_of(self, alert_id: str) -> _Point:
        for point in self._points.values():
            if point.machine.alert_id == alert_id:
                return point
        raise ValueError("there is no such alert")

    def _done(
        self,
        point: _Point,
        states: Iterable[AlertState],
        now: datetime,
        operator: str | None = None,
        reason: str | None = None,
        until: datetime | None = None,
    ) -> list[Alert]:
        assert point.last is not None  # noqa: S101 - it has an alert
        by = {"operator": operator, "reason": reason, "until": until}
        alerts = [
            point.last.model_copy(
                update={"state": state, "timestamp": max(now, point.last.timestamp), "cycle": None, **by}
            )
            for state in states
        ]
        point.last, self.changed = alerts[-1], True
        return alerts

    # --- what outlives the process ----------------------------------------------------------------

    def note(self) -> str:
        """What stands, is latched, shelved, or cleared only lately, as JSON; empty when nothing is."""
        self.changed = False
        noted = [
            Noted(
                phase=point.machine.phase,
                raised_at=point.raised_at,
                chatter=point.machine.chatter,
                last=point.last,
                shelf=point.machine.shelf,
            )
            for point in self._points.values()
            if point.machine.remembered and point.last is not None and point.raised_at is not None
        ]
        return _NOTE.dump_json(noted, exclude_none=True).decode() if noted else ""

    def resume(self, note: str, now: datetime) -> list[Alert]:
        """Go on where a note ends; what is no longer a point, or was raised anew meanwhile, is cleared."""
        ended = []
        for noted in read_note(note):
            known = PointId(noted.last.kind, noted.last.subject)
            meanwhile = self._points.get(known)
            if not is_point(self._component, known) or (meanwhile and meanwhile.machine.remembered):
                ended.append(noted)
            else:
                self._resume(known, noted)
        self.changed = bool(ended) or self.changed
        return cleared(ended, now, "the configuration changed")

    def _resume(self, known: PointId, noted: Noted) -> None:
        point = self._points[known] = self._new(known)
        point.last, point.raised_at = noted.last, noted.raised_at
        alert = noted.last
        point.machine.resume(noted.phase, alert.alert_id, alert.severity, noted.shelf, noted.chatter)

    def end(self, now: datetime) -> list[Alert]:
        """What clears all alerts: nobody watches this component as it was any more."""
        alerts = cleared(read_note(self.note()), now, "the configuration changed")
        self._points.clear()
        self.changed = True
        return alerts


def cleared(noted: Iterable[Noted], now: datetime, why: str) -> list[Alert]:
    """What clears these alerts, as far as they have not cleared."""
    return [
        n.last.model_copy(
            update={
                "state": AlertState.CLEARED,
                "timestamp": max(now, n.last.timestamp),
                "message": f"cleared: {why}",
                "cycle": None,
            }
        )
        for n in noted
        if n.shelf is not None or n.phase is not Phase.NORMAL
    ]
