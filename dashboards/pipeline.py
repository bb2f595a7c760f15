"""Pipeline: what happens to a record between the plant and the lake. From Prometheus."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from dashboards import variables
from dashboards.looks import ALARM, COUNT, GOOD, HALF, THIRD, WARNING, lines, number, steps
from dashboards.pages import PIPELINE, page

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="pm-prometheus")
AGENT = 'instance=~"$instance"'  # not `:regex`, whose backslashes PromQL's strings do not take
OUTBOX_SHARE, LAG_S, STALLED_S = 0.8, 300, 30  # as the agent's own /healthz judges them (health/judgement.py)
PER_SECOND, ROWS_PER_SECOND = "suffix: /s", "suffix: rows/s"

Asked = Sequence[tuple[str, str]]  # PromQL and legend


def pipeline() -> Dashboard:
    """Agents first, then the centre, in the order that a record travels."""
    made = page(
        PIPELINE, "Pipeline", "From the plant to the lake: outbox, lag, gaps, dead letters, by Prometheus."
    )
    made.variables([variables.instance(PROMETHEUS)])
    for panel in (*_standing(),):
        made.with_panel(panel)
    made.with_row(Row("Edge agents: the plant"))
    for plot in _plant():
        made.with_panel(plot)
    made.with_row(Row("Edge agents: outbox and forwarding"))
    for plot in _outbox():
        made.with_panel(plot)
    made.with_row(Row("Centre: ingest"))
    for plot in _ingest():
        made.with_panel(plot)
    made.with_row(Row("Centre: inference"))
    for plot in _inference():
        made.with_panel(plot)
    return made


def _standing() -> list[stat.Panel]:
    worse_above = steps((None, GOOD), (1, ALARM))
    return [
        _number(
            "Agents up", "Agents whose /metrics answers, of those that Prometheus knows.",
            f'sum(up{{job="edge-agent",{AGENT}}}) / count(up{{job="edge-agent",{AGENT}}})', units.PercentUnit,
        ).thresholds(steps((None, ALARM), (1, GOOD))),
        _number(
            "Problems", "Problems that agents name on /healthz, all together.",
            f"sum(edge_problem{{{AGENT}}})", COUNT,
        ).thresholds(steps((None, GOOD), (1, WARNING))),
        _number(
            "Rows given up", "Rows that agents had to give up, in the time range; a gap record names each.",
            f"sum(increase(edge_outbox_rows_dropped_total{{{AGENT}}}[$__range]))", COUNT,
        ).thresholds(worse_above),
        _number(
            "Dead letters",
            "Rows that Kafka would never take and messages that ingest could not read, in the time range.",
            f"sum(increase(edge_dead_letters_total{{{AGENT}}}[$__range])) + "
            "(sum(increase(centre_ingest_dead_letters_total[$__range])) or vector(0))", COUNT,
        ).thresholds(worse_above),
    ]  # fmt: skip


def _plant() -> list[timeseries.Panel]:
    return [
        _lines(
            "Polls", "Polls begun, polls that read nothing, and polls left out because the last ran over.",
            PER_SECOND,
            [(_rate("edge_polls_total", "instance", AGENT), "{{instance}} begun"),
             (_rate("edge_polls_failed_total", "instance", AGENT), "{{instance}} failed"),
             (_rate("edge_polls_missed_total", "instance", AGENT), "{{instance}} missed")],
        ),
        _lines(
            "Values by quality", "Values read each second: good, or why there is no number.", PER_SECOND,
            [(_rate("edge_values_total", "quality", AGENT), "{{quality}}")],
        ),
        _lines(
            "A cycle",
            "From the poll to the row made durable, and how late polls begin: 99 of 100 are faster.",
            units.Seconds,
            [(_p99("edge_cycle_seconds", AGENT), "{{instance}} cycle"),
             (_p99("edge_poll_start_delay_seconds", AGENT), "{{instance}} begun late by")],
        ),
        _lines(
            "Problems by name", "1 while /healthz names the problem.", COUNT,
            [(f"sum by (code) (edge_problem{{{AGENT}}})", "{{code}}")],
        ),
    ]  # fmt: skip


def _outbox() -> list[timeseries.Panel]:
    return [
        _lines(
            "Outbox age",
            f"Age of the oldest row that Kafka has not taken. An agent calls {LAG_S} s a problem.",
            units.Seconds, [(f"edge_outbox_oldest_age_seconds{{{AGENT}}}", "{{instance}}")],
        ).thresholds(steps((None, GOOD), (LAG_S, WARNING))),
        _lines(
            "Outbox filled", "Rows that wait, as a share of the bound at which the oldest give way.",
            units.PercentUnit,
            [(f"edge_outbox_rows{{{AGENT}}} / edge_outbox_rows_max{{{AGENT}}}", "{{instance}}")],
        ).min(0).max(1).thresholds(steps((None, GOOD), (OUTBOX_SHARE, WARNING))),
        _lines(
            "Forwarded", "Rows that Kafka acknowledged.", ROWS_PER_SECOND,
            [(_rate("edge_forwarded_rows_total", "instance", AGENT), "{{instance}}")],
        ),
        _lines(
            "Gaps and dead letters at the sites",
            "Rows given up because the outbox was full or damaged, and rows that Kafka would never take; "
            "since the agent's start.",
            COUNT,
            [(f"edge_outbox_rows_dropped_total{{{AGENT}}}", "{{instance}} given up"),
             (f"edge_dead_letters_total{{{AGENT}}}", "{{instance}} dead letters")],
        ),
        _lines(
            "Kafka takes nothing",
            f"How long Kafka has taken no row while rows wait. Over {STALLED_S} s is a problem.",
            units.Seconds, [(f"edge_forward_stalled_seconds{{{AGENT}}}", "{{instance}}")],
        ).thresholds(steps((None, GOOD), (STALLED_S, WARNING))),
    ]  # fmt: skip


def _ingest() -> list[timeseries.Panel]:
    return [
        _lines(
            "Records into the lake", "New records that every sink took, by kind.", PER_SECOND,
            [(_rate("centre_ingest_records_total", "schema"), "{{schema}}")],
        ),
        _lines(
            "Lag by site", "How old a site's newest record in the lake is: the whole way from the plant.",
            units.Seconds, [("time() - centre_ingest_newest_timestamp_seconds", "{{site}}")],
        ).thresholds(steps((None, GOOD), (LAG_S, WARNING))),
        _lines(
            "Gaps told by sites", "Rows that sites gave up, by reason, since ingest started.", COUNT,
            [("sum by (reason) (centre_ingest_gap_rows_total)", "{{reason}}")],
        ),
        _lines(
            "Dead letters and repeats",
            "Messages that could not be read, and records that came again and were dropped.",
            PER_SECOND,
            [("sum(rate(centre_ingest_dead_letters_total[$__rate_interval]))", "dead letters"),
             ("sum(rate(centre_ingest_repeats_total[$__rate_interval]))", "repeats")],
        ),
    ]  # fmt: skip


def _inference() -> list[timeseries.Panel]:
    panels = [
        _lines(
            "Calls", "Calls answered, by method and gRPC status.", PER_SECOND,
            [(_rate("centre_inference_calls_total", "method, code"), "{{method}} {{code}}")],
        ),
        _lines(
            "Time of a call", "From a call's message to its answer: 99 of 100 are faster.", units.Seconds,
            [(_p99("centre_inference_call_seconds", "", "method"), "{{method}}")],
        ),
        _lines(
            "Not on the record",
            "Answers that could not be put on the audit record. Anything above 0 needs someone.",
            COUNT, [("centre_inference_audit_failures_total", "answers")],
        ).thresholds(steps((None, GOOD), (1, ALARM))),
    ]  # fmt: skip
    return [panel.span(THIRD) for panel in panels]


def _rate(name: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({name}{{{where}}}[$__rate_interval]))"


def _p99(name: str, where: str, by: str = "instance") -> str:
    rate = f"sum by ({by}, le) (rate({name}_bucket{{{where}}}[$__rate_interval]))"
    return f"histogram_quantile(0.99, {rate})"


def _query(expression: str, legend: str, ref_id: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().datasource(PROMETHEUS).expr(expression).ref_id(ref_id)
    return query.range().legend_format(legend)


def _lines(title: str, description: str, unit: str, asked: Asked) -> timeseries.Panel:
    targets = [_query(*each, chr(ord("A") + i)) for i, each in enumerate(asked)]
    return lines(title, description, unit, targets).span(HALF).min(0)


def _number(title: str, description: str, expression: str, unit: str) -> stat.Panel:
    query = _query(expression, title, "A").instant()
    return number(title, description, unit, [query])
