"""A real agent that is killed: plant, agent, Kafka's protocol, ingest, lake, InfluxDB, rule for silence."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from control_plane.sinks.influx import InfluxWriter
from control_plane.sinks.influx_feed import InfluxFeed
from dashboards.check.asked import Rule
from dashboards.check.compared import Failure, Result
from dashboards.check.fired import fires, silence_rules
from dashboards.check.influxd import Influx
from dashboards.rules import NO_DATA_PERIODS
from shared.reactor_config import load_fleet
from tests.support.agent_process import Site
from tests.support.pipeline import broker, ingesting

PERIOD_S = 2.0  # of the polls; the rule looks back over three
SETTLED_POLLS = 5  # that the rule must see through without firing
FIRST_DEADLINE_S = 120.0  # until the first reading is in InfluxDB
LOOK_S = 0.2


def stopped_checked(influx: Influx, scratch: Path) -> Result:
    """The rule is quiet while the agent runs, and fires three poll periods after it was killed."""
    with _running(influx, scratch) as site:
        (rule,) = silence_rules(load_fleet(site.config), scratch)
        failure = _heard(rule, influx) or _quiet(rule, influx)
        site.process.kill()
        site.process.wait()
        killed = datetime.now(UTC)
        due = killed + timedelta(seconds=NO_DATA_PERIODS * PERIOD_S)
        while datetime.now(UTC) < due:  # as Grafana would, who asks when the time has come
            time.sleep(LOOK_S)
        told = fires(rule, influx, due)
    late = Failure(f"rule {rule.uid}", "is quiet three poll periods after the agent was killed", rule.query)
    found = [failure, None if told.silent or told.places else late]
    return Result(len(found), [each for each in found if each])


def _heard(rule: Rule, influx: Influx) -> Failure | None:
    deadline = time.monotonic() + FIRST_DEADLINE_S
    while fires(rule, influx, datetime.now(UTC)).silent:
        if time.monotonic() > deadline:
            return Failure(f"rule {rule.uid}", "no reading of a running agent reached InfluxDB", rule.query)
        time.sleep(LOOK_S)
    return None


def _quiet(rule: Rule, influx: Influx) -> Failure | None:
    """Fired at once is allowed to a batch that is late, not throughout: the rule must hold for 30 s."""
    end = time.monotonic() + SETTLED_POLLS * PERIOD_S
    answers = []
    while time.monotonic() < end:
        answers.append(fires(rule, influx, datetime.now(UTC)).silent)
        time.sleep(LOOK_S)
    return Failure(f"rule {rule.uid}", "fires while the agent runs", rule.query) if all(answers) else None


@contextmanager
def _running(influx: Influx, scratch: Path) -> Iterator[Site]:
    """A site and a centre."""
    folder, lake = scratch / "site", scratch / "stopped-lake"
    folder.mkdir()
    site = Site(folder, PERIOD_S)
    site.write("{coolant_pump: {}}")
    with ExitStack() as stack:
        address = stack.enter_context(broker())
        stack.enter_context(ingesting(lake, address))
        stack.enter_context(InfluxFeed(lake, cast(InfluxWriter, influx)))
        stack.enter_context(site.plant())
        stack.enter_context(site.agent(address))
        yield site
