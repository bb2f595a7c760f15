"""What ails the site, from what was measured. Pure: no clock, no I/O.

*Down* is a site that is not looked after: nothing is polled, nothing can be read or nothing can be kept.
*Degraded* is one that is, with something missing that a person should know of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

DOWN_AFTER_PERIODS: Final = 10  # polls without one good value
BAD_SHARE: Final = 0.2  # of the latest polls' values: a device is gone, or a wire
OUTBOX_SHARE: Final = 0.8  # of its bound: about a fifth of the time is left to mend the network
STALLED_S: Final = 30.0  # rows wait and Kafka took none
LAG_S: Final = 300.0  # age of the oldest row: what is seen at the centre is that old
CLOCK_STEP_S: Final = 300.0  # after the clock was set, times before and after it do not compare


class State(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"  # the site is looked after, something is missing
    DOWN = "down"  # nothing is polled or read, or nothing can be kept


class Problem(NamedTuple):
    """One thing that is wrong: `code` stays the same while it lasts, `text` says it to a person."""

    code: str
    text: str
    down: bool = False


@dataclass(frozen=True)
class Vitals:
    """What is judged. Times are in seconds; `inf` is never."""

    moved_s: float  # since the poll loop got on
    moved_s_max: float
    good_s: float  # since a value was read
    poll_period_s: float
    values_good: int = 0  # of the latest polls
    values_bad: int = 0
    disk: str | None = None  # why the outbox takes nothing
    unscored: Sequence[str] = ()
    outbox_rows: int = 0
    outbox_share: float = 0.0  # of the bound that it is nearest to
    oldest_s: float = 0.0
    undelivered_s: float = 0.0
    kafka: str = ""
    kafka_says: str | None = None  # the client's newest complaint
    held: Mapping[str, str] = field(default_factory=dict)  # topics that take nothing, and why
    clock_step_s: float = 0.0
    clock_step_ago_s: float = inf
    config_refused: str | None = None
    updates_blocked: str | None = None  # why nothing of the repositories is believed


class Health(NamedTuple):
    """The state and every reason for it."""

    state: State
    reasons: list[str]

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> "Health":
        """Down when one problem means that; what means it stands first."""
        ordered = sorted(problems, key=lambda p: not p.down)
        down = bool(ordered) and ordered[0].down
        state = State.DOWN if down else State.DEGRADED if ordered else State.OK
        return cls(state, [problem.text for problem in ordered])


def judge(v: Vitals) -> list[Problem]:
    """Every problem, each once."""
    return [*_of_the_plant(v), *_of_what_is_kept(v), *_of_the_rest(v)]


def _of_the_plant(v: Vitals) -> list[Problem]:
    found = []
    if v.moved_s > v.moved_s_max:
        text = f"the poll loop has stood still for {v.moved_s:.0f} s; {v.moved_s_max:.0f} s is the most"
        found.append(Problem("poll_loop_stalled", text, down=True))
    if v.good_s > DOWN_AFTER_PERIODS * v.poll_period_s:
        text = f"no value could be read for {v.good_s:.0f} s" if v.good_s < inf else "nothing read yet"
        found.append(Problem("plant_away", text, down=True))
    elif v.values_bad > BAD_SHARE * (v.values_good + v.values_bad):
        text = f"{v.values_bad} of the last {v.values_good + v.values_bad} values have no number"
        found.append(Problem("bad_quality", text))
    return found


def _of_what_is_kept(v: Vitals) -> list[Problem]:
    found = []
    if v.disk:
        found.append(Problem("disk_refuses", v.disk, down=True))
    if v.outbox_share > OUTBOX_SHARE:
        text = f"{v.outbox_rows:,} rows wait for Kafka: {v.outbox_share:.0%} of what the outbox may hold"
        found.append(Problem("outbox_nearly_full", text))
    if v.undelivered_s > STALLED_S:
        text = f"Kafka at {v.kafka} took no row for {v.undelivered_s:.0f} s; {v.outbox_rows:,} wait"
        found.append(Problem("kafka_away", f"{text}{_why(v)}"))
    if v.oldest_s > LAG_S:
        text = f"the oldest row that waits is {v.oldest_s:.0f} s old"
        found.append(Problem("forward_lag", text if found else f"{text}{_why(v)}"))
    return found


def _why(v: Vitals) -> str:
    """What is known of why rows wait."""
    known = [v.kafka_says] if v.kafka_says else []
    known += [f"topic {topic}: {reason}" for topic, reason in v.held.items()]
    return f": {'; '.join(known)}" if known else ""


def _of_the_rest(v: Vitals) -> list[Problem]:
    found = []
    if v.unscored:
        found.append(Problem("no_model", f"no model yet for {', '.join(v.unscored)}"))
    if v.clock_step_ago_s < CLOCK_STEP_S:
        text = f"the clock was set by {v.clock_step_s:+.1f} s {v.clock_step_ago_s:.0f} s ago"
        found.append(Problem("clock_set", text))
    if v.config_refused:
        text = f"the configuration was refused, the one before stays: {v.config_refused}"
        found.append(Problem("config_refused", text))
    if v.updates_blocked:
        text = f"no model can come in, the ones in use score on: {v.updates_blocked}"
        found.append(Problem("updates_blocked", text))
    return found


CODES = (
    "poll_loop_stalled",
    "plant_away",
    "bad_quality",
    "disk_refuses",
    "outbox_nearly_full",
    "kafka_away",
    "forward_lag",
    "no_model",
    "clock_set",
    "config_refused",
    "updates_blocked",
)
