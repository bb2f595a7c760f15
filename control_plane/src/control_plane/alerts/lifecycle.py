"""An alert's life at the centre as a pure state machine: raised, acknowledged, cleared (ISA-18.2, 5.4).

              a person acknowledges
      RAISED ----------------------> ACKNOWLEDGED
        |  ^                           |   |
        |  +-- raised again, graver ---+   | the site says it is normal
        v                                  v
      RETURNED_UNACKNOWLEDGED -----------> CLEARED
              a person acknowledges

Transitions come late, twice and out of order. So an alert is kept as the newest of each thing that was
said of it, which comes to the same in whatever order it is taken in. Two alerts are about the same thing
when component, kind and subject agree: of one source the newer replaces the older (a site that lost its
state raised it anew), and what the centre scored gives way to the site's own word while that stands.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from control_plane.alerts.models import Acknowledgement, AlertStatus, AlertView
from shared.errors import Rejected
from shared.schemas import Alert, AlertState, Frozen, Severity, UtcTime

Order = tuple[datetime, int]

_CALLS = (AlertState.RAISED, AlertState.ESCALATED)  # an acknowledgement before it does not cover it


class UnknownAlert(Rejected):
    """There is no alert of that id."""


class Transition(Frozen):
    """A transition as it arrived; `by_centre` when the centre scored the component, not its site."""

    alert: Alert
    seq: int
    by_centre: bool = False

    @property
    def order(self) -> Order:
        return self.alert.timestamp, self.seq


class Point(NamedTuple):
    """What an alert is about, within its component, and who says so."""

    kind: str
    subject: str
    by_centre: bool


class Alarm(Frozen):
    """One alert: the last transition, the last that called for a person, its first raising.

    `replaced_at`: when a newer alert of the same source took its place. `hidden`: the site's own alert
    says the same. `told`: people were called about it.
    """

    last: Transition
    called: Transition | None = None
    first_raised: UtcTime | None = None
    acknowledgement: Acknowledgement | None = None
    replaced_at: UtcTime | None = None
    hidden: bool = False
    told: bool = False

    @property
    def alert_id(self) -> str:
        return self.last.alert.alert_id

    @property
    def point(self) -> Point:
        """What it is about."""
        alert = self.last.alert
        return Point(alert.kind, alert.subject, self.last.by_centre)

    @property
    def began(self) -> datetime:
        """When it was raised, as far as is known."""
        return self.first_raised or self.last.alert.timestamp

    @property
    def severity(self) -> Severity:
        return (self.called or self.last).alert.severity

    @property
    def acknowledged(self) -> bool:
        """Whether an acknowledgement covers the newest raising or escalation; so does a reset at the site."""
        if self.called is None:  # its raising has not arrived: there is something to see while it stands
            return self.acknowledgement is not None or self._said is AlertState.CLEARED
        return self.acknowledgement is not None and self.acknowledgement.through >= self.called.order

    @property
    def status(self) -> AlertStatus:
        """The state that all of this comes to."""
        if self.replaced_at is not None:
            return AlertStatus.CLEARED
        match self._said:
            case AlertState.SHELVED:
                return AlertStatus.SHELVED
            case AlertState.RETURNED:
                return AlertStatus.RETURNED
            case AlertState.CLEARED:
                return AlertStatus.CLEARED if self.acknowledged else AlertStatus.RETURNED_UNACKNOWLEDGED
            case _:
                return AlertStatus.ACKNOWLEDGED if self.acknowledged else AlertStatus.RAISED

    @property
    def over(self) -> bool:
        """Whether nobody needs it any more."""
        return self.status is AlertStatus.CLEARED

    @property
    def calling(self) -> bool:
        """Whether its condition stands, or is latched, and nobody has acknowledged it."""
        stands = self.status in (AlertStatus.RAISED, AlertStatus.RETURNED)
        return stands and not self.acknowledged and not self.hidden

    @property
    def _said(self) -> AlertState:
        return self.last.alert.state

    def take(self, new: Transition) -> "Alarm":
        """With one more transition, which may be old or a repeat."""
        changes: dict[str, object] = {}
        if new.order >= self.last.order:
            changes["last"] = new
        if new.alert.state in _CALLS:
            if self.called is None or new.order >= self.called.order:
                changes["called"] = new
            changes["first_raised"] = min(self.first_raised or new.alert.timestamp, new.alert.timestamp)
        found = self.model_copy(update=changes)
        by = new.alert.operator
        return found._covered(_reset(by, new)) if by and new.alert.state is AlertState.CLEARED else found

    def acknowledge(self, who: str, note: str, at: datetime, seen: datetime | None = None) -> "Alarm":
        """Taken on by a person who saw it as it was at `seen` (None: as it is); Rejected says why not."""
        if self.over:
            raise Rejected(f"alert {self.alert_id} has cleared; there is nothing to acknowledge")
        if self.acknowledged and self.acknowledgement is not None:
            by = self.acknowledgement
            raise Rejected(
                f"alert {self.alert_id}: {by.who} has acknowledged it at {by.at:%Y-%m-%d %H:%M:%S} UTC"
            )
        if seen is not None and self.called is not None and self.called.order[0] > seen:
            again = self.called.alert
            raise Rejected(
                f"alert {self.alert_id}: {again.state} again at {again.timestamp:%H:%M:%S} UTC "
                f"({again.severity}), after what you saw; look at it again"
            )
        through = max(t.order for t in (self.last, self.called) if t is not None)
        return self._covered(Acknowledgement(who=who, note=note, at=at, through=through))

    def _covered(self, by: Acknowledgement) -> "Alarm":
        """With the acknowledgement that reaches furthest."""
        known = self.acknowledgement
        if known is not None and (known.through, known.at) >= (by.through, by.at):
            return self
        return self.model_copy(update={"acknowledgement": by})

    def view(self) -> AlertView:
        """As it is shown."""
        told = (self.called or self.last).alert  # what was wrong stands in the raising
        last, status = self.last.alert, self.status
        changed_at = max(last.timestamp, self.replaced_at or last.timestamp)
        names = ("alert_id", "site_id", "reactor_id", "component", "kind", "severity", "subject", "message")
        return AlertView(
            **{name: getattr(told, name) for name in (*names, "value", "threshold", "cycle")},
            **{name: getattr(last, name) for name in ("operator", "reason", "until")},
            event_id=told.event_id or told.alert_id,
            raised_at=self.first_raised,
            cleared_at=changed_at if self.over or last.state is AlertState.CLEARED else None,
            changed_at=changed_at,
            status=status,
            acknowledged=self.acknowledged,
            acknowledgement=self.acknowledgement,
        )


def step(known: Mapping[str, Alarm], transitions: Iterable[Transition]) -> dict[str, Alarm]:
    """A component's alarms by alert id, with what has arrived of them."""
    alarms = dict(known)
    for new in transitions:
        found = alarms.get(new.alert.alert_id) or Alarm(last=new)
        alarms[new.alert.alert_id] = found.take(new)
    return settled(alarms)


def settled(alarms: Mapping[str, Alarm]) -> dict[str, Alarm]:
    """The same alarms, one left of each thing that several are about."""
    newest: dict[Point, Alarm] = {}
    replaced: dict[str, datetime] = {}
    for alarm in sorted(alarms.values(), key=lambda a: (a.began, a.alert_id)):
        if alarm.point in newest:
            replaced[newest[alarm.point].alert_id] = alarm.began
        newest[alarm.point] = alarm
    hidden = {
        alarm.alert_id
        for point, alarm in newest.items()
        if point.by_centre and _stands(newest.get(point._replace(by_centre=False)))
    }
    return {
        key: alarm.model_copy(update={"replaced_at": replaced.get(key), "hidden": key in hidden})
        for key, alarm in alarms.items()
    }


def _stands(alarm: Alarm | None) -> bool:
    """Whether the site's own alert is there to be seen, and not only to be acknowledged."""
    done = (AlertStatus.CLEARED, AlertStatus.RETURNED_UNACKNOWLEDGED)
    return alarm is not None and alarm.model_copy(update={"replaced_at": None}).status not in done


def _reset(who: str, done: Transition) -> Acknowledgement:
    """An operator of the site who ended an alert has seen it."""
    return Acknowledgement(who=who, note=done.alert.reason or "", at=done.alert.timestamp, through=done.order)
