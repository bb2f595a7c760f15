"""Grafana's alert rules, whom they tell, and how they are told apart."""

import re
import zlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import alerting, expr
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.alerting import RelativeTimeRange
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.expr import ExprTypeThresholdConditions as Conditions

from dashboards.influxql import ACTIVE, BY_COMPONENT, INFLUXDB, InfluxQuery, latest
from dashboards.pages import FLEET, REACTOR
from shared.reactor_config import Component, FleetConfig
from shared.schemas import ComponentId

FOLDER = "Alert rules"
UID_CHARS_MAX = 40  # Grafana's
INTERVAL_S = 10  # how often rules are asked; Grafana's least
WITHIN_S = 600  # a RUL that was said longer ago is no reason to call anybody
ANOMALY_WITHIN_S, ANOMALIES = 300, 2  # so many abnormal answers within; as the agents' own alarms (on_delay)
NO_DATA_PERIODS = 3
NO_DATA_MIN_S = (
    3  # ingest gathers for 1 s, and InfluxDB follows the lake: under 2 s where nothing is in the way
)
EXPRESSION = DataSourceRef(type_val="__expr__", uid="__expr__")


class Told(NamedTuple):
    """A rule's title, what it is in a sentence for who is called, its severity and how long it must hold."""

    uid: str
    title: str
    summary: str
    severity: str
    for_s: int
    page: str = REACTOR


class Condition(NamedTuple):
    """When a series' last number fires."""

    kind: str  # lt, lte, gt, gte
    limit: float


def rules(fleet: FleetConfig) -> list[alerting.Rule]:
    """Low RUL by its two thresholds, anomalies, and silence, each reactor's by its own poll period."""
    found = fleet.components()
    return [*_low_rul(found), _anomaly(), *_silent(fleet)]


def no_data_after_s(poll_period_s: float) -> int:
    """How old the newest reading may be, whole seconds: three polls, or what ingest may take."""
    return max(NO_DATA_MIN_S, int(NO_DATA_PERIODS * poll_period_s))


def _low_rul(components: Mapping[ComponentId, Component]) -> list[alerting.Rule]:
    """A rule per threshold; where components differ, each rule is for those that have this one."""
    made = []
    for severity, field in (("warning", "rul_warning"), ("alarm", "rul_alarm")):
        by_limit: dict[float, list[ComponentId]] = defaultdict(list)
        for key, part in components.items():
            by_limit[getattr(part.thresholds, field)].append(key)
        for limit, keys in by_limit.items():
            where = [ACTIVE] if len(by_limit) == 1 else [ACTIVE, _any_of(keys)]
            query = latest({"rul": 'last("rul")'}, "prediction", where, BY_COMPONENT)
            told = Told(
                _uid(f"pm-rul-{severity}-{limit:g}"),
                f"RUL {severity}: at or under {limit:g} cycles",
                "{{ $labels.site_id }}/{{ $labels.reactor_id }} {{ $labels.component }}: RUL "
                '{{ printf "%.0f" $values.B.Value }} cycles, ' + f"{severity} at {limit:g}",
                severity,
                0,
            )
            made.append(_rule(told, query, WITHIN_S, Condition("lte", limit), silence="OK"))
    return made


def _anomaly() -> alerting.Rule:
    where = [ACTIVE, '"is_anomaly" = true']
    query = latest({"abnormal": 'count("is_anomaly")'}, "prediction", where, BY_COMPONENT)
    told = Told(
        "pm-anomaly",
        "Anomaly: abnormal readings",
        "{{ $labels.site_id }}/{{ $labels.reactor_id }} {{ $labels.component }}: "
        f"{{{{ $values.B.Value }}}} abnormal answers in {ANOMALY_WITHIN_S // 60} minutes",
        "alarm",
        0,
    )
    return _rule(told, query, ANOMALY_WITHIN_S, Condition("gte", ANOMALIES), silence="OK")


def _silent(fleet: FleetConfig) -> list[alerting.Rule]:
    made = []
    for site_id, site in fleet.sites.items():
        for reactor_id in site.reactors:
            after_s = no_data_after_s(site.plant.poll_period_s)
            where = f"\"site_id\" = '{site_id}' AND \"reactor_id\" = '{reactor_id}'"
            query = f'SELECT count(/.*/) FROM "telemetry" WHERE {where} AND $timeFilter'
            told = Told(
                _uid(f"pm-no-data-{site_id}-{reactor_id}"),
                f"No data: {site_id}/{reactor_id}",
                f"{site_id}/{reactor_id}: no reading for {after_s} s; what was shown last is not the present",
                "alarm",
                30,  # so that one late batch calls nobody
                FLEET,
            )
            made.append(_rule(told, query, after_s, Condition("lt", 1), silence="Alerting"))
    return made


def _uid(wanted: str) -> str:
    """The same for the same text, of the characters and the length that Grafana takes."""
    found = re.sub(r"[^A-Za-z0-9_-]", "-", wanted)
    if found == wanted and len(found) <= UID_CHARS_MAX:
        return found
    return f"{found[: UID_CHARS_MAX - 9]}-{zlib.crc32(wanted.encode()):08x}"


def _any_of(keys: list[ComponentId]) -> str:
    parts = [" AND ".join(f"\"{n}\" = '{v}'" for n, v in key._asdict().items()) for key in keys]
    return f"({' OR '.join(f'({part})' for part in parts)})"


def _rule(told: Told, query: str, within_s: int, condition: Condition, silence: Any) -> alerting.Rule:
    return (
        alerting.Rule(told.title)
        .uid(told.uid)
        .condition("C")
        .with_query(_asked("A", INFLUXDB, InfluxQuery(query), within_s))
        .with_query(_asked("B", EXPRESSION, _last_of_each(), 0))
        .with_query(_asked("C", EXPRESSION, _threshold(condition), 0))
        .no_data_state(silence)
        .exec_err_state("Error")
        .for_val(f"{told.for_s}s")
        .labels({"severity": told.severity, "product": "pm-stack-smr"})
        .annotations({"summary": told.summary, "dashboard": f"/d/{told.page}"})
        .folder_uid(FOLDER)
        .rule_group("pm-stack-smr")
        .is_paused(False)
    )


def _asked(ref_id: str, source: DataSourceRef, model: Builder[Dataquery], from_s: int) -> alerting.Query:
    found = alerting.Query(ref_id).datasource_uid(source.uid or "").model(model)
    return found.relative_time_range(RelativeTimeRange(from_s, 0))


def _last_of_each() -> expr.TypeReduce:
    return expr.TypeReduce().ref_id("B").expression("A").reducer("last").datasource(EXPRESSION)


def _threshold(condition: Condition) -> expr.TypeThreshold:
    kind: Any = condition.kind
    evaluator = expr.ExprTypeThresholdConditionsEvaluator().type(kind).params([condition.limit])
    conditions: list[Builder[Conditions]] = [expr.ExprTypeThresholdConditions().evaluator(evaluator)]
    return expr.TypeThreshold().ref_id("C").expression("B").conditions(conditions).datasource(EXPRESSION)
