"""The report's alarms: what each came to, and each change of it with the severity that it then had. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from control_plane.alerts.models import AlertView
from control_plane.audit.centre_log import CentreAct, CentreEntry
from control_plane.console import wording
from control_plane.report.html import table, written
from shared.schemas import ComponentId

ALERTS_SHOWN_MAX = 15  # newest first, as all that follows; the rest is counted
CHANGES_SHOWN_MAX = 40


class Change(NamedTuple):
    """One thing that happened to an alert; `severity` as it was afterwards, empty where that is not known."""

    at: datetime
    alert_id: str
    what: str
    severity: str
    message: str
    who: str
    why: str


def changes(
    rows: Iterable[dict[str, Any]], record: Iterable[CentreEntry], place: ComponentId
) -> list[Change]:
    """Newest first: the lake's transitions (`rows`, oldest first), the record's acknowledgements."""
    found: list[Change] = [
        Change(
            row["timestamp"], row["alert_id"], row["state"], row["severity"], row["message"],
            row["operator"] or "", row["reason"] or "",
        )
        for row in rows
    ]  # fmt: skip
    by_alert: dict[str, list[Change]] = {}
    for each in found:
        by_alert.setdefault(each.alert_id, []).append(each)
    for entry in record:
        if entry.act is CentreAct.ALERT_ACKNOWLEDGED and entry.detail.get("component") == place.key:
            before = [each for each in by_alert.get(entry.subject, ()) if each.at <= entry.timestamp]
            severity, message = (before[-1].severity, before[-1].message) if before else ("", "")
            who, why = (str(entry.detail.get(name, "")) for name in ("by", "note"))
            found.append(Change(entry.timestamp, entry.subject, "acknowledged", severity, message, who, why))
    return sorted(found, key=lambda each: each.at)[::-1]


def alarms(in_lake: int, alerts: list[AlertView] | None, changed: list[Change], made: datetime) -> str:
    """What stands or stood, then how it came to that; `alerts` is None without an alarm list."""
    title = f"<h2>Alarms</h2><p>{in_lake:,} in the lake.</p>"
    if alerts is None:
        listed = "<p>There is no alarm list in this folder, so what became of them is not known here.</p>"
    elif not alerts:
        listed = "<p>None is on the alarm list.</p>"
    else:
        rows = (
            (written(a.raised_at), wording.alert_word(a), a.message, a.status.replace("_", " "),
             wording.acknowledgement(a, made), written(a.cleared_at))
            for a in alerts[:ALERTS_SHOWN_MAX]
        )  # fmt: skip
        heads = ("raised", "is", "message", "state", "people", "cleared")
        listed = table(heads, rows) + _left(len(alerts) - ALERTS_SHOWN_MAX)
    return title + listed + _changes(changed)


def _changes(changed: list[Change]) -> str:
    if not changed:
        return ""
    rows = (
        (written(c.at), c.what, c.severity, c.message, ": ".join(part for part in (c.who, c.why) if part),
         c.alert_id[:8])
        for c in changed[:CHANGES_SHOWN_MAX]
    )  # fmt: skip
    heads = ("at", "was", "severity then", "message", "by whom, why", "alert")
    return f"<h3>Each change</h3>{table(heads, rows)}{_left(len(changed) - CHANGES_SHOWN_MAX)}"


def _left(count: int) -> str:
    return f'<p class="note">{count} older ones are not shown.</p>' if count > 0 else ""
