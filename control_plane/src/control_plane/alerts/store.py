"""Every alert and every notice of it, in one SQLite file that several processes write.

An alert's new state and what is to be told of it commit together: a kill between the two loses no call and
invents none. A channel has a mark of how far it has told; a kill between the telling and the mark repeats
that one notice, under the same id.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.sqlite import insert

from control_plane.alerts.calls import Notice, NoticeKind, calls
from control_plane.alerts.lifecycle import Alarm, Transition, UnknownAlert, settled, step
from control_plane.alerts.models import AlertView
from control_plane.database import DatabaseFile
from shared.schemas import utc_now

OVER_LISTED_MAX = 500  # cleared alerts in the list, newest first; every other is listed
KEPT_FOR = timedelta(days=400)  # of what is over: a year's turnaround and a month; the lake has all
NOTICES_KEPT_MAX = 10_000  # that every channel has told: some 10 MB
PRUNE_EVERY = 1_000  # writes between two looks at what is old

_tables = MetaData()
_alerts = Table(
    "alerts",
    _tables,
    Column("alert_id", String, primary_key=True),
    Column("component", String, nullable=False),
    Column("began_us", BigInteger, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
    Column("over", Boolean, nullable=False),
    Column("alarm", String, nullable=False),
    Index("alerts_of_component", "component", "over", "began_us"),
    Index("alerts_over", "over", "changed_us"),
)
_notices = Table(
    "notices",
    _tables,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("notice", String, nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice: marks count on it
)
_marks = Table(
    "marks",
    _tables,
    Column("channel", String, primary_key=True),
    Column("number", Integer, nullable=False),
)

Known = dict[str, Alarm]


class Numbered(NamedTuple):
    """A notice and its place in the order of all."""

    number: int
    notice: Notice


class AlertStore:
    """The alerts of all sites. Blocking; milliseconds a call. Any number of processes may hold one.

    Every method raises what `DatabaseFile` does.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self._file = DatabaseFile(path, _tables, "move it away, and ingest makes it anew from the lake")
        self._clock = clock
        self._writes = 0

    def take(self, transitions: Sequence[Transition]) -> None:
        """Take in what has arrived, in any order; what is known already changes nothing."""
        by_component: dict[str, list[Transition]] = defaultdict(list)
        for new in transitions:
            by_component[new.alert.key].append(new)
        with self._file.writing() as db:
            for component, own in by_component.items():
                known = _known(db, component, own)
                self._move(db, component, known, step(known, own))
            self._prune(db)

    def acknowledge(
        self,
        alert_ids: Sequence[str],
        who: str,
        note: str,
        seen: datetime | None = None,
        on_record: Callable[[AlertView], None] = lambda _: None,
    ) -> list[AlertView]:
        """Note that `who` has taken these alerts on, all or none; UnknownAlert or Rejected say why not.

        `seen` is the newest `changed_at` of what the person looked at. `on_record` is called of each before
        it counts: what cannot be put on the record is not acknowledged.
        """
        done: list[AlertView] = []
        with self._file.writing() as db:
            for component, ids in _places(db, alert_ids).items():
                known = _known(db, component, (), ids)
                now = {key: known[key].acknowledge(who, note, self._clock(), seen) for key in ids}
                self._move(db, component, known, settled(known | now))
                done += [alarm.view() for alarm in now.values()]
            for view in done:
                on_record(view)
        return done

    def views(self) -> list[AlertView]:
        """Every alert that is not over and the newest of those that are, newest first."""
        over = select(_alerts.c.alarm).where(_alerts.c.over).order_by(_alerts.c.changed_us.desc())
        with self._file.reading() as db:
            texts = [
                *db.execute(select(_alerts.c.alarm).where(~_alerts.c.over)).scalars(),
                *db.execute(over.limit(OVER_LISTED_MAX)).scalars(),
            ]
        alarms = [Alarm.model_validate_json(text) for text in texts]
        alarms.sort(key=lambda alarm: (alarm.began, alarm.alert_id), reverse=True)
        return [alarm.view() for alarm in alarms if not alarm.hidden]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever taken in."""
        with self._file.reading() as db:
            return db.execute(select(_alerts.c.alert_id).limit(1)).first() is None

    # --- notices ----------------------------------------------------------------------------------

    def follow(self, channel: str) -> None:
        """Make the channel known; a new one begins with what happens from now on."""
        with self._file.writing() as db:
            newest = select(func.coalesce(func.max(_notices.c.number), 0)).scalar_subquery()
            db.execute(insert(_marks).values(channel=channel, number=newest).on_conflict_do_nothing())

    def next_notice(self, channel: str) -> Numbered | None:
        """The first notice that the channel has not settled."""
        mark = select(_marks.c.number).where(_marks.c.channel == channel).scalar_subquery()
        query = select(_notices).where(_notices.c.number > mark).order_by(_notices.c.number).limit(1)
        with self._file.reading() as db:
            row = db.execute(query).first()
        return Numbered(row.number, Notice.model_validate_json(row.notice)) if row else None

    def settle(self, channel: str, number: int) -> None:
        """The channel has told this notice, or has given it up."""
        with self._file.writing() as db:
            db.execute(_marks.update().where(_marks.c.channel == channel).values(number=number))

    def close(self) -> None:
        """Close every connection; the next use opens them again."""
        self._file.close()

    # ----------------------------------------------------------------------------------------------

    def _move(self, db: Connection, component: str, before: Known, after: Known) -> None:
        """Keep what changed and what is to be told of it."""
        after, told = calls(before, after)
        rows = [_row(component, alarm) for key, alarm in after.items() if before.get(key) != alarm]
        if rows:
            written = insert(_alerts)
            fresh = {name: written.excluded[name] for name in ("began_us", "changed_us", "over", "alarm")}
            db.execute(written.on_conflict_do_update(index_elements=["alert_id"], set_=fresh), rows)
        if told:
            db.execute(insert(_notices), [{"notice": self._notice(*one)} for one in told])

    def _notice(self, kind: NoticeKind, alarm: Alarm) -> str:
        notice = Notice(notice_id=str(uuid.uuid4()), notice=kind, at=self._clock(), alert=alarm.view())
        return notice.model_dump_json(exclude={"alert": {"standing", "to_acknowledge"}})

    def _prune(self, db: Connection) -> None:
        """Now and then let go what is long over, and what every channel has told."""
        self._writes += 1
        if self._writes % PRUNE_EVERY != 1:
            return
        old = _micros(self._clock() - KEPT_FOR)
        db.execute(delete(_alerts).where(_alerts.c.over, _alerts.c.changed_us < old))
        newest = db.execute(select(func.max(_notices.c.number))).scalar() or 0
        told = db.execute(select(func.min(_marks.c.number))).scalar()
        last = min(newest - NOTICES_KEPT_MAX, newest if told is None else told)
        db.execute(delete(_notices).where(_notices.c.number <= last))


def _places(db: Connection, alert_ids: Sequence[str]) -> dict[str, list[str]]:
    """The alerts by component."""
    found: dict[str, list[str]] = defaultdict(list)
    for alert_id in alert_ids:
        component = db.execute(select(_alerts.c.component).where(_alerts.c.alert_id == alert_id)).scalar()
        if component is None:
            raise UnknownAlert(f"no alert {alert_id}; `control-plane alerts list` shows what there is")
        found[component].append(alert_id)
    return found


def _known(db: Connection, component: str, arrived: Sequence[Transition], also: Sequence[str] = ()) -> Known:
    """The component's alarms that these transitions can touch: those not over, and those no older."""
    own, ids = _alerts.c, {*also, *(new.alert.alert_id for new in arrived)}
    texts = list(db.execute(select(own.alarm).where(own.alert_id.in_(ids))).scalars())
    times = [new.alert.timestamp for new in arrived]
    times += [Alarm.model_validate_json(text).began for text in texts]
    touched = or_(~own.over, own.began_us >= _micros(min(times))) if times else ~own.over
    texts += db.execute(select(own.alarm).where(own.component == component, touched)).scalars()
    found = map(Alarm.model_validate_json, texts)
    return {alarm.alert_id: alarm for alarm in found if alarm.last.alert.key == component}


def _row(component: str, alarm: Alarm) -> Mapping[str, object]:
    return {
        "alert_id": alarm.alert_id,
        "component": component,
        "began_us": _micros(alarm.began),
        "changed_us": _micros(alarm.view().changed_at),
        "over": alarm.over,
        "alarm": alarm.model_dump_json(),
    }


def _micros(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)
