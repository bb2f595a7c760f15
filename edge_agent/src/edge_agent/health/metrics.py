"""The agent's metrics, by Prometheus' naming rules: base units, `_total` for what only grows.

Labels have a fixed, small set of values each (invariant 8): no component, tag or message is one.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.schemas import AlertKind, Quality

_POLL_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SCORE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05)
_DELAY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
RELOAD_OUTCOMES = ("applied", "unchanged", "refused")


class Metrics:
    """One registry an agent, so that two agents in one process do not mix."""

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.polls = Counter("edge_polls_total", "Polls of the plant begun", registry=r)
        self.polls_failed = Counter("edge_polls_failed_total", "Polls that read no good value", registry=r)
        self.polls_missed = Counter("edge_polls_missed_total", "Polls skipped: the last ran over", registry=r)
        self.repeats = Counter("edge_repeated_cycles_total", "Readings of a cycle seen before", registry=r)
        self.values = Counter(
            "edge_values_total", "Values by quality: good, or the reason for none", ["quality"], registry=r
        )
        self.poll_start_delay = Histogram(
            "edge_poll_start_delay_seconds", "From due to begun", registry=r, buckets=_DELAY_BUCKETS_S
        )
        self.poll_seconds = Histogram("edge_poll_seconds", "A poll", registry=r, buckets=_POLL_BUCKETS_S)
        self.score_seconds = Histogram(
            "edge_score_seconds",
            "All windows and scores of a poll",
            registry=r,
            buckets=_SCORE_BUCKETS_S,
        )
        self.commit_seconds = Histogram(
            "edge_commit_seconds", "One cycle made durable", registry=r, buckets=_POLL_BUCKETS_S
        )
        self.cycle_seconds = Histogram(
            "edge_cycle_seconds", "Polled, scored and made durable", registry=r, buckets=_POLL_BUCKETS_S
        )
        self.predictions = Counter("edge_predictions_total", "Windows scored", registry=r)
        self.alerts = Counter("edge_alerts_total", "Alerts raised", ["kind"], registry=r)
        self.commit_failures = Counter("edge_outbox_commit_failures_total", "Commits refused", registry=r)
        self.outbox_dropped = Counter(
            "edge_outbox_rows_dropped_total", "Rows given up, each named by a gap record", registry=r
        )
        self.outbox_rows = Gauge("edge_outbox_rows", "Rows not yet acknowledged by Kafka", registry=r)
        self.outbox_rows_max = Gauge("edge_outbox_rows_max", "Where the oldest give way", registry=r)
        self.outbox_bytes = Gauge("edge_outbox_bytes", "Size of the outbox file", registry=r)
        self.outbox_age = Gauge("edge_outbox_oldest_age_seconds", "Age of the oldest pending row", registry=r)
        self.delivered = Counter("edge_forwarded_rows_total", "Rows that Kafka acknowledged", registry=r)
        self.dead_letters = Counter("edge_dead_letters_total", "Rows Kafka could never take", registry=r)
        self.forward_stalled = Gauge(
            "edge_forward_stalled_seconds", "Since Kafka last took a row, while rows wait", registry=r
        )
        self.models_refused = Counter("edge_models_refused_total", "Releases refused", ["check"], registry=r)
        self.reloads = Counter(
            "edge_config_reloads_total", "Configurations re-read, by outcome", ["outcome"], registry=r
        )
        self.clock_steps = Counter("edge_clock_steps_total", "Times the wall clock was set", registry=r)
        self.problems = Gauge("edge_problem", "1 while /healthz names this problem", ["code"], registry=r)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A series that appears with its first event shows no increase to whoever looks for one."""
        for quality in ("good", *Quality):
            self.values.labels(quality)
        for kind in AlertKind:
            self.alerts.labels(kind)
        for outcome in RELOAD_OUTCOMES:
            self.reloads.labels(outcome)


class Followed:
    """A counter that follows a total kept elsewhere."""

    def __init__(self, counter: Counter) -> None:
        self._counter, self._seen = counter, 0

    def to(self, total: int) -> None:
        """The total is this now; it never falls."""
        self._counter.inc(max(0, total - self._seen))
        self._seen = max(self._seen, total)
