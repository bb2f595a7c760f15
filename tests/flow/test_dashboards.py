"""Every query of every dashboard and rule, asked of real servers after a simulated day with faults.

Cycles are longer here, so that it is quick; `make dashboards-check` takes the day at its real cycle period.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dashboards.check.compared import compare_all
from dashboards.check.day import Day
from dashboards.check.filled import filled
from dashboards.check.fired import rules_checked
from dashboards.check.scraped import pipeline_checked

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
