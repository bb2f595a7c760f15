"""Down, degraded or well, with every reason; metrics by Prometheus' conventions; a line a change."""

import re
from dataclasses import replace
from math import inf
from types import SimpleNamespace

import pytest
import structlog
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.health import BacklogWatch, Changes, Health, Metrics, Problem, Vitals, judge
from edge_agent.health.judgement import CODES
from edge_agent.outbox import Stats

WELL = Vitals(moved_s=0.5, moved_s_max=33.0, good_s=0.5, poll_period_s=1.0, values_good=180)
SICK = {
    "poll_loop_stalled": ({"moved_s": 34.0}, "stood still for 34 s; 33 s is the most", True),
    "plant_away": ({"good_s": 11.0}, "no value could be read for 11 s", True),
    "bad_quality": ({"values_good": 79, "values_bad": 21}, "21 of the last 100 values have no number", False),
    "disk_refuses": ({"disk": "outbox.db: no space left"}, "no space left", True),
    "outbox_nearly_full": (
        {"outbox_rows": 801, "outbox_share": 0.801},
        "801 rows wait for Kafka: 80% of what the outbox may hold",
        False,
    ),
    "kafka_away": ({"undelivered_s": 31.0, "kafka": "k:9092"}, "Kafka at k:9092 took no row for 31 s", False),
    "forward_lag": ({"oldest_s": 301.0}, "the oldest row that waits is 301 s old", False),
    "no_model": ({"unscored": ["TX01/R1/pump"]}, "no model yet for TX01/R1/pump", False),
    "clock_set": ({"clock_step_s": -3600.0, "clock_step_ago_s": 9.0}, "set by -3600.0 s 9 s ago", False),
    "config_refused": ({"config_refused": "TX01: unknown field"}, "TX01: unknown field", False),
    "updates_blocked": ({"updates_blocked": "image expiry"}, "no model can come in", False),
}
# Name, type and labels of everything /metrics shows: what dashboards and alerts of a site rest on.
METRICS = {
    "edge_polls": ("counter", set()),
    "edge_polls_failed": ("counter", set()),
    "edge_polls_missed": ("counter", set()),
    "edge_repeated_cycles": ("counter", set()),
    "edge_values": ("counter", {"quality"}),
    "edge_poll_start_delay_seconds": ("histogram", set()),
    "edge_poll_seconds": ("histogram", set()),
    "edge_score_seconds": ("histogram", set()),
    "edge_commit_seconds": ("histogram", set()),
    "edge_cycle_seconds": ("histogram", set()),
    "edge_predictions": ("counter", set()),
    "edge_alerts": ("counter", {"kind"}),
    "edge_outbox_commit_failures": ("counter", set()),
    "edge_outbox_rows_dropped": ("counter", set()),
    "edge_outbox_rows": ("gauge", set()),
    "edge_outbox_rows_max": ("gauge", set()),
    "edge_outbox_bytes": ("gauge", set()),
    "edge_outbox_oldest_age_seconds": ("gauge", set()),
    "edge_forwarded_rows": ("counter", set()),
    "edge_dead_letters": ("counter", set()),
    "edge_forward_stalled_seconds": ("gauge", set()),
    "edge_models_refused": ("counter", {"check"}),
    "edge_config_reloads": ("counter", {"outcome"}),
    "edge_clock_steps": ("counter", set()),
    "edge_problem": ("gauge", {"code"}),
}
LABEL_VALUES_MAX = 20  # of one metric
NO_UNIT = ("_rows", "_rows_max", "edge_problem")  # gauges that count; the others end with their base unit


def test_a_site_that_is_well_has_no_reason():
    assert Health.of(judge(WELL)) == ("ok", [])


@pytest.mark.parametrize("code", CODES)
def test_each_problem_has_its_reason_and_its_weight(code):
    """Nothing polled, read or kept is down; the rest is degraded; each is told alone."""
    changes, text, down = SICK[code]
    problems = judge(replace(WELL, **changes))
    assert [problem.code for problem in problems] == [code]
    state, reasons = Health.of(problems)
    assert state == ("down" if down else "degraded")
    assert text in reasons[0]


def test_what_means_down_stands_first():
    problems = judge(replace(WELL, good_s=inf, unscored=["TX01/R1/pump"], disk="full"))
    assert Health.of(problems) == ("down", ["nothing read yet", "full", "no model yet for TX01/R1/pump"])


def test_a_problem_is_logged_when_it_begins_and_when_it_is_over():
    """Kafka away for a thousand looks: two lines, and the gauge in between."""
    metrics, now = Metrics(), SimpleNamespace(s=100.0)
    changes = Changes(metrics.problems, lambda: now.s)
    away = [Problem("kafka_away", "took no row for 31 s")]
    with structlog.testing.capture_logs() as lines:
        for _ in range(1000):
            changes.see(away)
            now.s += 1
        assert 'edge_problem{code="kafka_away"} 1.0' in generate_latest(metrics.registry).decode()
        changes.see([])
    assert 'edge_problem{code="kafka_away"} 0.0' in generate_latest(metrics.registry).decode()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("problem", "warning"),
        ("problem over", "info"),
    ]
    assert lines[1]["lasted_s"] == 1000.0


def test_a_backlog_that_does_not_move_is_told_from_one_that_does():
    """Stalled counts from the last row that Kafka took, and only while rows wait."""
    metrics, clock = Metrics(), SimpleNamespace(s=0.0)
    watch = BacklogWatch(metrics, 10, 1_000, lambda: 1_000.0 + clock.s, lambda: clock.s)

    def see(pending: int, delivered: int, dead: int = 0) -> float:
        clock.s += 10
        oldest_ms = 1_000_000 if pending else None
        watch.see(outbox_stats(pending, oldest_ms=oldest_ms), delivered, dead)
        return watch.stalled_s

    assert [see(5, 0), see(9, 0), see(7, 4), see(8, 4), see(0, 12, 2), see(0, 12, 2)] == [10, 20, 0, 10, 0, 0]
    assert watch.oldest_s == 0.0
    see(5, 12)
    assert watch.share == 0.5
    text = generate_latest(metrics.registry).decode()
    assert "edge_forwarded_rows_total 12.0" in text
    assert "edge_dead_letters_total 2.0" in text


def outbox_stats(rows: int, size: int = 0, given_up: int = 0, oldest_ms: int | None = None) -> Stats:
    return Stats(rows, 100, oldest_ms, 1, 0, size, 0, given_up)


def test_the_bound_that_is_nearer_counts_whether_rows_or_bytes():
    """Few large rows fill the outbox as well as many small ones."""
    watch = BacklogWatch(Metrics(), 10, 1_000)
    shares = []
    for rows, size in ((9, 100), (1, 950), (0, 0)):
        watch.see(outbox_stats(rows, size), 0, 0)
        shares.append(watch.share)
    assert shares == [0.9, 0.95, 0.0]


def test_rows_given_up_are_counted():
    """What the outbox says of it, and never less than it once said."""
    metrics = Metrics()
    watch = BacklogWatch(metrics, 10, 1_000)
    for given_up in (0, 7, 7, 9):
        watch.see(outbox_stats(1, given_up=given_up), 0, 0)
    assert "edge_outbox_rows_dropped_total 9.0" in generate_latest(metrics.registry).decode()


def test_the_reason_says_what_kafka_answers_and_which_topics_are_held():
    """Once, with the graver of the two problems that it explains."""
    held = {"alerts": "the topic does not exist"}
    late = replace(WELL, oldest_s=301.0, kafka_says="Authentication failed", held=held)
    why = ": Authentication failed; topic alerts: the topic does not exist"
    assert [p.text for p in judge(late)] == [f"the oldest row that waits is 301 s old{why}"]
    away, lag = (p.text for p in judge(replace(late, undelivered_s=31.0, kafka="k:9092")))
    assert away == f"Kafka at k:9092 took no row for 31 s; 0 wait{why}"
    assert lag == "the oldest row that waits is 301 s old"


def families() -> dict[str, object]:
    metrics = Metrics()
    Changes(metrics.problems)
    text = generate_latest(metrics.registry).decode()
    return {f.name: f for f in text_string_to_metric_families(text) if not f.name.endswith("_created")}


def test_metrics_are_those_that_are_listed_with_their_type_and_labels():
    """A rename breaks dashboards: it must be done here too."""
    wanted = {name: kind for name, (kind, _) in METRICS.items()}
    assert {name: family.type for name, family in families().items()} == wanted
    for name, family in families().items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= METRICS[name][1], name


def test_metric_names_follow_the_conventions_and_have_few_series():
    """Base units, help for each, every label's values known beforehand and few."""
    for name, family in families().items():
        assert re.fullmatch(r"edge_[a-z]+(_[a-z]+)*", name)
        assert family.documentation
        if family.type == "histogram":
            assert name.endswith("_seconds")
        if family.type == "gauge":
            assert name.endswith(("_seconds", "_bytes", *NO_UNIT)), name
        series = {tuple(s.labels.items()) for s in family.samples}
        assert len(series) <= LABEL_VALUES_MAX, name


def test_series_begin_at_zero():
    """An increase from nothing would be none to Prometheus."""
    found = families()
    assert {s.labels["quality"] for s in found["edge_values"].samples if "quality" in s.labels} >= {
        "good",
        "timeout",
    }
    assert {s.labels["outcome"] for s in found["edge_config_reloads"].samples} == {
        "applied",
        "unchanged",
        "refused",
    }
    assert {s.labels["code"] for s in found["edge_problem"].samples} == set(CODES)
