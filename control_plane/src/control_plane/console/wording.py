"""How numbers, ages, times and states are written on a page. Pure: values in, text out."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from control_plane.alerts.models import AlertStatus, AlertView
from control_plane.api.history_models import LongHistory
from control_plane.api.models import (
    ComponentView,
    FleetSnapshot,
    Freshness,
    Level,
    PredictionView,
    Reading,
)
from control_plane.ingest.completeness import Account
from shared.operation import STANDSTILL
from shared.reactor_config import Tag
from shared.schemas import Contribution, Prediction, RulState, Severity
from shared.schemas.calibration import Calibration
from shared.wording import contribution as contribution_in_words
from shared.wording import withheld

NOTHING = "\N{EM DASH}"
UNITS: Mapping[str, str] = {"degC": "°C", "degF": "°F", "m3/h": "m³/h", "m/s2": "m/s²"}
LEVELS: Mapping[Level, str] = {
    Level.ALARM: "Alarm",
    Level.WARNING: "Warning",
    Level.NO_DATA: "No data",
    Level.DEGRADED: "Limited",
    Level.NORMAL: "Normal",
}
SPANS_SHOWN_MAX = 3  # runs of rows in one line
SIGNIFICANT_DIGITS = 4  # a plant's instruments seldom resolve more


def title(name: str) -> str:
    """`coolant_pump` as a person writes it."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def unit(name: str) -> str:
    """A unit's symbol."""
    return UNITS.get(name, name)


def number(value: float, span: float | None = None) -> str:
    """With as many decimals as the tag's span (or else the value) deserves, so that a row stands still."""
    size = max(abs(span / 2 if span else value), 1e-6)
    decimals = SIGNIFICANT_DIGITS - math.ceil(math.log10(size))
    return f"{value:.{min(4, max(0, decimals))}f}"


def reading_value(reading: Reading) -> str:
    """The number, or why there is none."""
    if reading.value is None:
        return str(reading.quality).replace("_", " ")
    low, high = reading.range or (0.0, 0.0)
    return number(reading.value, high - low)


def tag_name(reading: Reading) -> str:
    """What is measured, in the words of the configuration."""
    return reading.description or title(reading.tag)


def age(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = int(seconds)
    for size, name, smaller, smaller_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {smaller_name}"
    return f"{whole} s"


def clock(time: datetime | None, now: datetime | None = None) -> str:
    """A time of day in UTC, with its date where that is not today's (`now`)."""
    if time is None:
        return NOTHING
    today = now is None or time.date() == now.date()
    return f"{time:%H:%M:%S} UTC" if today else f"{time:%Y-%m-%d %H:%M:%S} UTC"


def silence(component: ComponentView, now: datetime) -> str:
    """Why a component's numbers are not shown as the present."""
    match component.freshness:
        case Freshness.NEVER:
            return "No data yet"
        case Freshness.CLOCK_AHEAD if component.last_seen is not None:
            return f"Site clock is {age((component.last_seen - now).total_seconds())} ahead"
        case _:
            return f"No data for {age(component.age_s or 0.0)}"


def trouble(snapshot: FleetSnapshot) -> str:
    """What is wrong with all that a page shows; nothing where nothing is."""
    if snapshot.problem:
        return f"History cannot be read. {snapshot.problem}"
    if snapshot.nothing_new_s is not None:
        why = "Ingest is behind or has ended, or no site reaches the broker."
        return f"Nothing new from any site for {age(snapshot.nothing_new_s)}. {why}"
    return ""


def reason(component: ComponentView, now: datetime) -> str:
    """The first reason of its level; an alert's with the time of its number, which is not the present's."""
    first = component.reasons[0]
    told = next((alert.changed_at for alert in component.alerts if alert.message == first), None)
    if told is None:
        return first
    return f"{told:%H:%M} · {first}" if told.date() == now.date() else f"{told:%Y-%m-%d} · {first}"


def with_unit(name: str, symbol: str) -> str:
    """A curve's name with the unit of its numbers; alone where they have none."""
    return f"{name} ({unit(symbol)})" if symbol else name


def tag_heading(name: str, tag: Tag) -> str:
    """What is measured, with its unit."""
    return with_unit(tag.description or title(name), tag.unit)


def rul_headline(prediction: PredictionView | None) -> tuple[str, str]:
    """RUL in large letters, and its unit (empty where it is a word)."""
    if prediction is None:
        return "No prediction", ""
    if prediction.rul is not None:
        return f"{prediction.rul:.0f}", "cycles"
    return {
        RulState.BEYOND_HORIZON: "Beyond horizon",
        RulState.WITHHELD: "Withheld",
        RulState.NOT_MODELLED: "Not modelled",
        RulState.OK: "No number",
    }[prediction.rul_state], ""


def rul_detail(component: ComponentView, now: datetime) -> str:
    """The interval, or what the word means."""
    prediction = component.prediction
    if prediction is None:
        last = component.last_prediction
        return f"last at {clock(last.timestamp, now)}" if last else "no model has scored it yet"
    if prediction.rul_low is not None and prediction.rul_high is not None:
        return f"interval {prediction.rul_low:.0f} to {prediction.rul_high:.0f}"
    if prediction.rul_state is RulState.WITHHELD:
        return withheld(prediction.withheld_because)
    return {
        RulState.BEYOND_HORIZON: "further than the model can tell",
        RulState.NOT_MODELLED: "this type has no RUL model",
    }.get(prediction.rul_state, "")


def contribution(found: Contribution) -> str:
    """One tag's part in the number, with its unit as it is written here."""
    words = contribution_in_words(found, unit(found.unit))
    return words[:1].upper() + words[1:]


def anomaly(prediction: PredictionView | None) -> str:
    """The score against its threshold."""
    if prediction is None or prediction.anomaly_score is None or prediction.anomaly_threshold is None:
        return NOTHING
    return f"{prediction.anomaly_score:.2f}, limit {prediction.anomaly_threshold:.2f}"


def anomaly_word(prediction: PredictionView | None) -> str:
    """What the score says of the component: at a standstill nothing."""
    if prediction is None:
        return ""
    if prediction.withheld_because in STANDSTILL:
        return "Not judged"
    return "Abnormal" if prediction.is_anomaly else "Normal"


def model(prediction: PredictionView | None) -> str:
    """Name, version and the first digits of the digest."""
    if prediction is None:
        return "no model"
    return f"{prediction.model.name} v{prediction.model.version} · {prediction.model.short}"


def alert_word(alert: AlertView) -> str:
    """How grave it is now, or that it is not."""
    if alert.status in (AlertStatus.RAISED, AlertStatus.ACKNOWLEDGED):
        return "Alarm" if alert.severity is Severity.ALARM else "Warning"
    return {AlertStatus.SHELVED: "Shelved", AlertStatus.CLEARED: "Cleared"}.get(alert.status, "Returned")


def alarm_state(alert: AlertView) -> str:
    """ISA-18.2's state of an alarm, behind its priority: 1 is an alarm, 2 a warning."""
    priority = 1 if alert.severity is Severity.ALARM else 2
    waits = ", unacknowledged" if alert.to_acknowledge else ", acknowledged" if alert.acknowledged else ""
    state = {
        AlertStatus.RAISED: "active",
        AlertStatus.ACKNOWLEDGED: "active",
        AlertStatus.RETURNED: "returned, latched",
        AlertStatus.RETURNED_UNACKNOWLEDGED: "returned",
        AlertStatus.SHELVED: "shelved",
        AlertStatus.CLEARED: "normal",
    }[alert.status]
    return f"Priority {priority} · {state}{waits}"


def acknowledgement(alert: AlertView, now: datetime) -> str:
    """Who took it on and said what, or that nobody has."""
    by = alert.acknowledgement
    if alert.to_acknowledge:
        return "not acknowledged" if by is None else f"raised again since {by.who} acknowledged it"
    if by is None or not alert.acknowledged:
        return ""
    return f"acknowledged by {by.who} at {clock(by.at, now)}" + (f": {by.note}" if by.note else "")


def alert_note(alert: AlertView, now: datetime) -> str:
    """What became of it at the site, and by whom; nothing for one that simply stands or has cleared."""
    by = f" by {alert.operator}" if alert.operator else ""
    why = f": {alert.reason}" if alert.reason else ""
    match alert.status:
        case AlertStatus.SHELVED:
            return f"shelved until {clock(alert.until, now)}{by}{why}"
        case AlertStatus.RETURNED:
            return "returned to normal; latched until it is reset at the site"
        case AlertStatus.RETURNED_UNACKNOWLEDGED:
            return "returned to normal by itself"
        case AlertStatus.CLEARED if by:
            return f"reset{by}{why}"
        case AlertStatus.RAISED if why:
            return f"unshelved{by}{why}"
        case _:
            return ""


def verdict(account: Account) -> tuple[Level, str]:
    """Whether a store's rows add up, in a word."""
    if account.unexplained:
        return Level.ALARM, "Unexplained loss"
    if account.twice:
        return Level.ALARM, "Rows twice"
    if account.explained:
        return Level.WARNING, "Loss explained"
    return Level.NORMAL, "Under way" if account.not_yet else "Complete"


def explained(account: Account) -> str:
    """Rows given up, by reason."""
    reasons = sorted(account.explained.items())
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in reasons) or "0"


def unexplained(account: Account) -> str:
    """How many rows, and which."""
    spans = [
        str(first) if first == last else f"{first} to {last}" for first, last in account.unexplained_spans
    ]
    more = ", ..." if len(spans) > SPANS_SHOWN_MAX else ""
    where = ", ".join(spans[:SPANS_SHOWN_MAX]) + more
    word = "row" if account.unexplained == 1 else "rows"
    return f"{account.unexplained} ({word} {where})" if spans else "0"


def long_history(found: LongHistory | None, start: datetime, end: datetime) -> str:
    """Which span, and how much stands behind a point; without an answer, that it is on its way."""
    span = f"{start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC ({age((end - start).total_seconds())})"
    if found is None:
        return f"{span} · reading…"
    rows = sum(found.telemetry.rows) + sum(found.predictions.rows)
    if not rows:
        return f"{span} · nothing was recorded"
    if found.raw:
        return f"{span} · every one of {rows:,} rows"
    width = age(found.bucket_ms / 1000)
    return f"{span} · {rows:,} rows; a point is the mean of {width}, its band their lowest and highest"


def recorded_rul(made: Prediction) -> str:
    """The number on record with its interval, or why there is none."""
    if made.rul is None:
        why = f": {withheld(made.withheld_because)}" if made.withheld_because else ""
        return f"{made.rul_state.value.replace('_', ' ')}{why}"
    low, high = (NOTHING if value is None else f"{value:.4g}" for value in (made.rul_low, made.rul_high))
    return f"{made.rul:.4g} cycles, interval {low} to {high}"


def calibration(found: Calibration | None) -> str:
    """What the interval is to hold, and what that rests on."""
    if found is None:
        return "as it leaves the model"
    units = min(each.units for each in found.bins)
    bins = "one bin" if len(found.bins) == 1 else f"{len(found.bins)} bins"
    return f"to hold {found.coverage:.0%} of units; {bins} of at least {units} units"


def seen(time: datetime | None) -> str:
    """When a site was last heard of."""
    return NOTHING if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def normal(values: Sequence[float]) -> str:
    """What is usual of a tag, one value a regime."""
    return ", ".join(f"{value:.4g}" for value in values) or NOTHING
