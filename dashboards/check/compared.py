"""Each query of InfluxDB, with every choice of variables that matters, held against the lake's answer."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.check.asked import Asked, Json, Variable, dashboards, queries, variables
from dashboards.check.filled import Filled
from dashboards.check.influxd import Influx, Series
from dashboards.check.macros import Range, Values, influxql
from dashboards.check.on_lake import Answer, Lake, as_key, cut, is_aggregate, parse

TOLERANCE = 1e-9  # relative: the two sum in different orders
PIXELS = 800  # about as many points as Grafana asks for; it rounds the interval to a handy one
HANDY_S = (1, 5, 10, 30, 60, 120, 300)
DIFFERENCES_MAX = 3  # told of one query
_NEVER = Range(datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(0, UTC))  # variables have no time


class Failure(NamedTuple):
    """A query, with what it was asked as, and what is wrong."""

    place: str
    reason: str
    query: str


class Result(NamedTuple):
    """How many queries were asked, and what failed."""

    queries: int
    failures: list[Failure]


def compare_all(filled: Filled, folder: Path) -> Result:
    """Every dashboard in the folder."""
    lake = Lake(filled.lake, filled.faults)
    span = Range(filled.day.at(0), filled.day.end)
    outcomes: list[Outcome] = []
    variables_asked = 0
    for dashboard in dashboards(folder):
        if all(each.source == "prometheus" for each in queries(dashboard)):
            continue
        variables_asked += len(variables(dashboard))
        for choice in choices(dashboard, filled.influx):
            outcomes += _compare(dashboard, choice, filled.influx, lake, span)
    answered = {each.asked for each in outcomes if each.rows}
    failures = [
        Failure(each.place, each.wrong or "empty for every choice", each.query)
        for each in outcomes
        if each.wrong or each.asked not in answered
    ]
    return Result(len(outcomes) + variables_asked, failures)


class Outcome(NamedTuple):
    """One query as it was asked: how many rows InfluxDB's answer has, how it differs from the lake's."""

    asked: Asked
    place: str
    query: str
    rows: int
    wrong: str


def choices(dashboard: Json, influx: Influx) -> list[Values]:
    """What a person may have chosen: All where several may be, each in turn where one must be.

    ValueError where a variable offers nothing.
    """
    found: list[dict[str, Sequence[str]]] = [{}]
    for variable in variables(dashboard):
        found = [
            {**before, variable.name: chosen}
            for before in found
            for chosen in _offers(variable, influx, before)
        ]
    if not found:
        raise ValueError(f"{dashboard['title']}: the variables leave nothing to choose")
    return list(found)


def _offers(variable: Variable, influx: Influx, before: Values) -> list[Sequence[str]]:
    """The choices of one variable; where its regex leaves nothing, none."""
    answer = influx.ask(influxql(variable.query, before, _NEVER, 1))
    values = sorted({row[1] for series in answer for row in series.rows})
    if variable.regex:
        values = [value for value in values if re.fullmatch(variable.regex.strip("/^$"), value)]
    if not values:
        return []
    return [values] if variable.several else [[value] for value in values]


def _compare(dashboard: Json, choice: Values, influx: Influx, lake: Lake, span: Range) -> Iterator[Outcome]:
    """Each query once, or once for each place of a repeated panel."""
    for asked in queries(dashboard):
        if asked.source != "influxdb":
            continue
        for values in _repeated(asked, choice, influx):
            yield _one(asked, values, influx, lake, span)


def _repeated(asked: Asked, choice: Values, influx: Influx) -> list[Values]:
    """A small multiple is asked for each of its places alone: each reactor of each site's row."""
    if asked.repeat is None:
        return [choice]
    found = influx.ask('SHOW SERIES FROM "telemetry"')
    places = {tuple(re.findall(r"(?:reactor_id|site_id)=([^,]+)", row[0])) for s in found for row in s.rows}
    return [{**choice, "reactor": [reactor], "site": [site]} for reactor, site in sorted(places)]


def _one(asked: Asked, values: Values, influx: Influx, lake: Lake, span: Range) -> Outcome:
    own = span.narrowed(asked.time_from)
    query = influxql(asked.query, values, own, _interval_s(own))
    place = f"{asked.place} for {_said(values)}"
    try:
        found, wanted = normalised(influx.ask(query), query), lake.answer(query)
    except ValueError as error:
        return Outcome(asked, place, query, 0, str(error))
    return Outcome(asked, place, query, len(found), differences(found, wanted))


def normalised(answer: Sequence[Series], query: str) -> Answer:
    """InfluxDB's answer by tags and time, without what is empty."""
    parsed = parse(query)
    found: Answer = {}
    raw = not is_aggregate(parsed)
    for series in answer:
        for ns, *values in series.rows:
            if all(value is None for value in values):
                continue
            if raw:
                found[as_key(values), ns] = tuple(values)
            else:
                tags = tuple(series.tags[tag] for tag in parsed.by)
                found[tags, ns if parsed.interval_s else None] = tuple(values)
    return cut(found, parsed)


def differences(found: Answer, wanted: Answer) -> str:
    """In words; empty where both say the same."""
    wrong = [key for key in found.keys() | wanted.keys() if not _same(found.get(key), wanted.get(key))]
    told = [f"{key}: {found.get(key)}, in the lake {wanted.get(key)}" for key in wrong[:DIFFERENCES_MAX]]
    return f"{len(wrong)} of {len(wanted)} differ: {'; '.join(told)}" if wrong else ""


def _same(a: tuple[Any, ...] | None, b: tuple[Any, ...] | None) -> bool:
    if a is None or b is None or len(a) != len(b):
        return False
    return all(
        math.isclose(x, y, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if isinstance(x, (int, float)) and isinstance(y, (int, float))
        else x == y
        for x, y in zip(a, b, strict=True)
    )


def _interval_s(span: Range) -> int:
    wanted = (span.end - span.start).total_seconds() / PIXELS
    return next((handy for handy in HANDY_S if handy >= wanted), HANDY_S[-1])


def _said(values: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name}={'|'.join(each)}" for name, each in values.items())
