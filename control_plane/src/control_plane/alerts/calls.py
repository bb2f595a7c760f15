"""What people are told of an alert: pure rules, one call for one event.

A call goes out when an alert begins to wait for a person, or grows graver while it waits, unless (and as
long as) another alert of its event, or one about the same thing, waits already and is as grave.
What was called about is told again when it is acknowledged and when it is over. What has returned to normal
before the centre heard of it stands on the list to be acknowledged; nobody is called for it.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from control_plane.alerts.lifecycle import Alarm
from control_plane.alerts.models import AlertStatus, AlertView
from shared.schemas import Frozen, Severity, UtcTime

_DONE = (AlertStatus.CLEARED, AlertStatus.RETURNED_UNACKNOWLEDGED)


class NoticeKind(StrEnum):
    """Why people are told."""

    RAISED = "raised"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"


class Notice(Frozen):
    """One thing to tell: what happened, and the alert as it was then. `notice_id` stays the same when it is
    sent again."""

    notice_id: str
    notice: NoticeKind
    at: UtcTime
    alert: AlertView


def calls(
    before: Mapping[str, Alarm], after: Mapping[str, Alarm]
) -> tuple[dict[str, Alarm], list[tuple[NoticeKind, Alarm]]]:
    """What to tell of a component's alarms that went from `before` to `after`; the alarms with what was told
    noted in them."""
    alarms, found = dict(after), []
    for key, alarm in sorted(
        after.items(), key=lambda item: (item[1].severity is not Severity.ALARM, item[0])
    ):
        kind = _kind(before.get(key), alarm)
        others = [other for name, other in alarms.items() if name != key]
        if kind in (NoticeKind.RAISED, NoticeKind.ESCALATED) and _is_said(alarm, others, before):
            kind = None
            if any(other.point[:2] == alarm.point[:2] and other.told for other in others):
                alarms[key] = alarm.model_copy(update={"told": True})  # in its place: its end is told
        if kind is not None:
            found.append((kind, alarm))
            alarms[key] = alarm.model_copy(update={"told": kind is not NoticeKind.CLEARED})
    return alarms, found


def _kind(before: Alarm | None, now: Alarm) -> NoticeKind | None:
    waited = before is not None and before.calling
    if now.calling:
        if not waited or not now.told:
            return NoticeKind.RAISED
        graver = (
            before is not None and before.severity is not Severity.ALARM and now.severity is Severity.ALARM
        )
        return NoticeKind.ESCALATED if graver else None
    if not now.told or before is None or now.replaced_at is not None:
        return None
    if now.status in _DONE:
        return NoticeKind.CLEARED
    return NoticeKind.ACKNOWLEDGED if now.acknowledged and not before.acknowledged else None


def _is_said(alarm: Alarm, others: Iterable[Alarm], before: Mapping[str, Alarm]) -> bool:
    """Whether people wait for an answer about the same event or the same thing already, as grave as this."""
    return any(
        (_event(other) == _event(alarm) or other.point[:2] == alarm.point[:2])
        and other.told
        and (other.calling or _was_calling(other, before))
        and (other.severity is Severity.ALARM or alarm.severity is not Severity.ALARM)
        for other in others
    )


def _was_calling(alarm: Alarm, before: Mapping[str, Alarm]) -> bool:
    """Whether it called until the newer alert about the same thing took its place."""
    known = before.get(alarm.alert_id)
    return alarm.replaced_at is not None and known is not None and known.calling


def _event(alarm: Alarm) -> str:
    return alarm.last.alert.event_id or alarm.alert_id
