"""The agent's metrics, by Prometheus' naming rules."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_POLL_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_SCORE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05)


class Metrics:
    """One registry an agent, so that two agents in one process do not mix."""

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.polls = Counter("edge_polls_total", "Polls of the plant begun", registry=r)
        self.polls_failed = Counter("edge_polls_failed_total", "Polls that read no good value", registry=r)
        self.polls_missed = Counter("edge_polls_missed_total", "Polls skipped: the last ran over", registry=r)
        self.repeats = Counter("edge_repeated_cycles_total", "Readings of a cycle seen before", registry=r)
        self.values = Counter("edge_values_total", "Values read, by quality", ["quality"], registry=r)
        self.poll_seconds = Histogram("edge_poll_seconds", "A poll", registry=r, buckets=_POLL_BUCKETS_S)
        self.score_seconds = Histogram(
            "edge_score_seconds", "One score", registry=r, buckets=_SCORE_BUCKETS_S
        )
        self.predictions = Counter("edge_predictions_total", "Windows scored", registry=r)
        self.alerts = Counter("edge_alerts_total", "Alerts raised", ["kind"], registry=r)
        self.commit_failures = Counter("edge_outbox_commit_failures_total", "Commits refused", registry=r)
        self.outbox_rows = Gauge("edge_outbox_rows", "Rows not yet acknowledged by Kafka", registry=r)
        self.outbox_bytes = Gauge("edge_outbox_bytes", "Size of the outbox file", registry=r)
        self.outbox_age = Gauge("edge_outbox_oldest_age_seconds", "Age of the oldest pending row", registry=r)
        self.models_refused = Counter("edge_models_refused_total", "Releases refused", ["check"], registry=r)
