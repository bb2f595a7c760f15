"""How well behaved the alarms of some time were, against the benchmarks of EEMUA 191 and ISA-18.2. Pure."""

from collections import Counter, deque
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from shared.schemas import Alert, AlertState

PER_TEN_MINUTES_MAX = 1.0  # on average: EEMUA 191, "very likely to be acceptable"
IN_TEN_MINUTES_MAX = 10  # in any: beyond it is a flood (EEMUA 191, ISA-18.2 table 5)
CHATTER_ALARMS = 3  # of one alert within CHATTER_SPAN: chattering (ISA-18.2); there should be none
CHATTER_SPAN = timedelta(minutes=1)
STALE_AFTER = timedelta(hours=24)  # standing for longer: stale (ISA-18.2, fewer than 5)

_SPAN = timedelta(minutes=10)
_CALLS = (AlertState.RAISED, AlertState.ESCALATED)  # what an operator has to turn to


class Hygiene(NamedTuple):
    """Counts over `hours`. `calls` are raisings and escalations: what an operator is called for."""

    hours: float
    calls: int
    alerts: int
    events: int
    calls_per_ten_minutes: float
    worst_ten_minutes: int
    chattering: int
    stale: int

    @property
    def acceptable(self) -> bool:
        """Whether every benchmark is met."""
        rare = self.calls_per_ten_minutes <= PER_TEN_MINUTES_MAX
        return rare and self.worst_ten_minutes <= IN_TEN_MINUTES_MAX and not self.chattering


def measure(alerts: Iterable[Alert], span: timedelta) -> Hygiene:
    """The alerts of `span`, in order; ValueError when it is no time at all."""
    if span <= timedelta():
        raise ValueError("there is no time to measure over")
    told = list(alerts)
    calls = [alert for alert in told if alert.state in _CALLS]
    return Hygiene(
        hours=span / timedelta(hours=1),
        calls=len(calls),
        alerts=len({alert.alert_id for alert in calls}),
        events=len({alert.event_id or alert.alert_id for alert in calls}),
        calls_per_ten_minutes=len(calls) * (_SPAN / span),
        worst_ten_minutes=_worst(calls),
        chattering=len(_chattering(calls)),
        stale=_stale(told),
    )


def _worst(calls: list[Alert]) -> int:
    recent: deque[Alert] = deque()
    worst = 0
    for call in sorted(calls, key=lambda alert: alert.timestamp):
        recent.append(call)
        while call.timestamp - recent[0].timestamp >= _SPAN:
            recent.popleft()
        worst = max(worst, len(recent))
    return worst


def _chattering(calls: list[Alert]) -> set[str]:
    found: set[str] = set()
    recent: dict[str, deque[Alert]] = {}
    for call in calls:
        last = recent.setdefault(call.alert_id, deque(maxlen=CHATTER_ALARMS))
        last.append(call)
        if len(last) == CHATTER_ALARMS and last[-1].timestamp - last[0].timestamp <= CHATTER_SPAN:
            found.add(call.alert_id)
    return found


def _stale(told: list[Alert]) -> int:
    """Alerts that stood for longer than a day; one that has not ended stands until the newest word."""
    first: dict[str, Alert] = {}
    last: dict[str, Alert] = {}
    for alert in told:
        first.setdefault(alert.alert_id, alert)
        last[alert.alert_id] = alert
    now = max((alert.timestamp for alert in told), default=None)
    stood = Counter(
        ((end.timestamp if end.state is AlertState.CLEARED else now) - first[key].timestamp) > STALE_AFTER
        for key, end in last.items()
        if now is not None
    )
    return stood[True]
