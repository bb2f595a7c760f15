"""`make dashboards-check`: a day at its real cycle period, every query; the last line is JSON.

CYCLE_S=60 makes the cycles longer and the check shorter.
"""

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from dashboards.check.asked import dashboards
from dashboards.check.compared import Result, compare_all
from dashboards.check.day import Day
from dashboards.check.filled import filled
from dashboards.check.fired import rules_checked
from dashboards.check.scraped import pipeline_checked
from dashboards.check.stopped import stopped_checked

ROOT = Path(__file__).parents[2]
FOLDER, RULES = ROOT / "infra/grafana/dashboards", ROOT / "infra/grafana/provisioning/alerting/rules.yaml"
PROMETHEUS = ROOT / "infra/prometheus/prometheus.yml"


def main() -> int:
    """Exit code 1 when a query failed."""
    day = Day(int(os.environ.get("CYCLE_S", "1")))
    print(f"simulating a day of {day.cycles:,} cycles a component, into a lake and InfluxDB", flush=True)
    began = time.monotonic()
    with TemporaryDirectory() as folder, filled(day) as both:
        print(f"{time.monotonic() - began:6.1f} s  filled", flush=True)
        results = {
            "dashboards, InfluxDB against the lake": compare_all(both, FOLDER),
            "alert rules": rules_checked(both, RULES, Path(folder)),
        }
        pipeline = next(each for each in dashboards(FOLDER) if each["title"] == "Pipeline")
        results["silence of a killed agent"] = stopped_checked(both.influx, Path(folder))
        results["Pipeline, by Prometheus"] = pipeline_checked(pipeline, PROMETHEUS, Path(folder))
    print(f"{time.monotonic() - began:6.1f} s  asked")
    return _told(results)


def _told(results: dict[str, Result]) -> int:
    for name, result in results.items():
        print(f"{name}: {result.queries} queries, {len(result.failures)} failed")
        for failure in result.failures:
            print(f"  {failure.place}: {failure.reason}\n    {failure.query}")
    failed = sum(len(result.failures) for result in results.values())
    print(json.dumps({"queries": sum(result.queries for result in results.values()), "failed": failed}))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
