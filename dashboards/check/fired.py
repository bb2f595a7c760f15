"""Alert rules: each asked at a moment when it must fire and at one when it must not."""

import operator
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from dashboards import provisioning
from dashboards.check.asked import Rule, rules
from dashboards.check.compared import Failure, Result, differences, normalised
from dashboards.check.day import FAULTY
from dashboards.check.filled import Filled
from dashboards.check.influxd import Influx
from dashboards.check.macros import Range, influxql
from dashboards.check.on_lake import Lake
from dashboards.rules import NO_DATA_PERIODS
from dashboards.rules import rules as made_rules
from shared.reactor_config import FleetConfig

KINDS = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}
MOMENT = timedelta(milliseconds=1)  # between the last reading and the stop of the agent


class Fired(NamedTuple):
    """The places (tags) of a rule that fire; `silent` when there was no answer at all."""

    places: list[tuple[str, ...]]
    silent: bool


def rules_checked(filled: Filled, path: Path, scratch: Path) -> Result:
    """Those of the file for RUL and anomalies; those of the day's own fleet for silence, whose periods
    are the day's."""
    lake = Lake(filled.lake, filled.faults)
    judged = [_judgement(rule, filled, lake) for rule in rules(path) if rule.silence == "OK"]
    silent = [
        outcome
        for rule in silence_rules(filled.fleet, scratch)
        for outcome in _silence(rule, filled, _period_s(filled.fleet))
    ]
    found = [*judged, *silent]
    if len(silent) != 2 * sum(len(site.reactors) for site in filled.fleet.sites.values()):
        found.append(Failure("no-data rules", f"{len(silent) // 2} found; one a reactor was expected", ""))
    return Result(len(found), [each for each in found if each])


def silence_rules(fleet: FleetConfig, scratch: Path) -> list[Rule]:
    """Those of a fleet, by way of the file that Grafana would read."""
    own = scratch / "rules.yaml"
    own.write_text(provisioning.as_yaml(provisioning.alert_rules(made_rules(fleet))))
    return [rule for rule in rules(own) if rule.silence == "Alerting"]


def fires(rule: Rule, influx: Influx, now: datetime) -> Fired:
    """The last number of each series against the threshold, as Grafana reduces and compares."""
    query = influxql(rule.query, {}, Range(now - timedelta(seconds=rule.within_s), now), 1)
    answer = influx.ask(query)
    if not answer:
        return Fired([], True)
    beyond = KINDS[rule.kind]
    last = [(tuple(each.tags.values()), each.rows[-1][1:]) for each in answer]
    return Fired(
        [tags for tags, values in last if any(v is not None and beyond(v, rule.limit) for v in values)], False
    )


def _judgement(rule: Rule, filled: Filled, lake: Lake) -> Failure | None:
    """At the day's end the faulty reactor's pump is worn out: it fires, and no sound component does."""
    now = filled.day.end
    query = influxql(rule.query, {}, Range(now - timedelta(seconds=rule.within_s), now), 1)
    wrong = differences(normalised(filled.influx.ask(query), query), lake.answer(query))
    if wrong:
        return Failure(f"rule {rule.uid}", wrong, query)
    found = sorted(set(place) for place in fires(rule, filled.influx, now).places)
    wanted = [{*FAULTY, "coolant_pump"}, {"RIG01", "LOOP1", "pump_rig"}]
    expected = wanted if rule.uid.startswith("pm-rul") else wanted[:1]
    same = sorted(map(sorted, found)) == sorted(map(sorted, expected))
    return None if same else Failure(f"rule {rule.uid}", f"fires for {found}; expected {expected}", query)


def _silence(rule: Rule, filled: Filled, period_s: int) -> Sequence[Failure | None]:
    """Quiet until the next poll is due, and firing within three periods of the agent's stop."""
    place, end = f"rule {rule.uid}", filled.day.end
    running = fires(rule, filled.influx, end + timedelta(seconds=period_s) - MOMENT)
    stopped = fires(rule, filled.influx, end + MOMENT + timedelta(seconds=NO_DATA_PERIODS * period_s))
    early = Failure(place, "fires while the reactor sends", rule.query)
    late = Failure(place, f"is quiet {NO_DATA_PERIODS} poll periods after the agent stopped", rule.query)
    quiet = not running.silent and not running.places
    return [None if quiet else early, None if stopped.silent or stopped.places else late]


def _period_s(fleet: FleetConfig) -> int:
    return int(next(iter(fleet.sites.values())).plant.poll_period_s)
