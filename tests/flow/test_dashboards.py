"""Every query of every dashboard and rule, asked of real servers after a simulated day with faults.

Cycles are longer here, so that it is quick; `make dashboards-check` takes the day at its real cycle period.
"""

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dashboards.check.compared import compare_all
from dashboards.check.day import Day
from dashboards.check.filled import filled
from dashboards.check.fired import rules_checked
from dashboards.check.influxd import influxdb
from dashboards.check.macros import Range, influxql
from dashboards.check.scraped import pipeline_checked
from dashboards.influxql import ACTIVE, said_last

ROOT = Path(__file__).parents[2]
GRAFANA, PROMETHEUS = ROOT / "infra/grafana", ROOT / "infra/prometheus"
CYCLE_S = 120  # 720 cycles a component
PROMTOOL_DEADLINE_S = 60.0


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install influxdb prometheus")


@pytest.fixture(scope="module")
def day():
    needs("influxd")
    with filled(Day(CYCLE_S)) as both:
        yield both


def test_every_query_has_an_answer_and_it_is_the_lakes(day):
    """Panels, variables and annotations, for every choice of site, reactor and component."""
    result = compare_all(day, GRAFANA / "dashboards")
    assert result.failures == []
    assert result.queries > 300


def test_a_rul_that_is_withheld_now_is_not_shown_as_what_was_said_before(tmp_path):
    """The newest prediction alone counts: each panel of what is so now says of it what the record does."""
    needs("influxd")
    said = {"RUL": 'last("rul")', "State": 'last("rul_state")'}
    with influxdb(tmp_path) as influx:
        for minute, fields in enumerate((["rul=40", 'rul_state="ok"'], ['rul_state="withheld"'])):
            line = f"prediction,mode=active,site_id=TX01 anomaly_score=1,{','.join(fields)}"
            influx.write([f"{line} {minute * 60 * 10**9}"])
        answers = []
        for columns in (said, {"RUL": said["RUL"]}):
            for end_s in (30, 90):
                span = Range(datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(end_s, UTC))
                query = influxql(said_last(columns, [ACTIVE], ["site_id"]), {}, span, 1)
                answers.append([row[1:] for series in influx.ask(query) for row in series.rows])
    assert answers == [[[40, "ok"]], [[None, "withheld"]], [[40]], []]


def test_rules_fire_for_the_worn_component_and_a_silent_reactor_and_for_nothing_else(day, tmp_path):
    """Low RUL and anomaly at the day's end; no data within three poll periods of the agent's stop."""
    result = rules_checked(day, GRAFANA / "provisioning/alerting/rules.yaml", tmp_path)
    assert result.failures == []
    assert result.queries == 3 + 2 * 5  # each reactor's silence at two moments


def test_the_pipeline_has_an_answer_to_every_query_from_a_real_prometheus(tmp_path):
    """It scrapes what agent and centre export, with the committed configuration."""
    needs("prometheus")
    dashboard = json.loads((GRAFANA / "dashboards/Pipeline/pipeline.json").read_text())
    result = pipeline_checked(dashboard, PROMETHEUS / "prometheus.yml", tmp_path)
    assert result.failures == []
    assert result.queries > 20


def test_prometheus_rules_fire_when_they_should():
    """promtool reads configuration and rules, and runs their own tests."""
    needs("promtool")
    for arguments in (("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")):
        done = subprocess.run(
            ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False,
            timeout=PROMTOOL_DEADLINE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
