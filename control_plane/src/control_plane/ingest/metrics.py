"""What Prometheus sees of ingest, at `/metrics` on loopback. Names say `centre_ingest_*`, the unit last."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from control_plane.sinks.arrival import Arrival
from shared.schemas import TOPIC_BY_SCHEMA, GapRecord


class IngestMetrics:
    """A sink that only counts. It stands last, so that it counts what every other sink has taken."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._records = Counter(
            "centre_ingest_records", "records that every sink took", ["schema"], registry=self.registry
        )
        self._gap_rows = Counter(
            "centre_ingest_gap_rows", "rows that sites gave up, by reason", ["reason"], registry=self.registry
        )
        self._newest = Gauge(
            "centre_ingest_newest_timestamp_seconds",
            "source time (Unix) of a site's newest record",
            ["site"],
            registry=self.registry,
        )
        self._newest_s: dict[str, float] = {}
        for schema in TOPIC_BY_SCHEMA:  # a series that begins with its first event shows no increase
            self._records.labels(schema)
        for reason in ("outbox_full", "corrupt", "disk_full", "rejected"):
            self._gap_rows.labels(reason)

    def accept(self, batch: Sequence[Arrival]) -> None:
        """Count it. Never raises, never waits."""
        for arrival in batch:
            record, site = arrival.record, arrival.envelope.site
            self._records.labels(record.SCHEMA).inc()
            if isinstance(record, GapRecord):
                self._gap_rows.labels(record.reason).inc(record.count)
            self._newest_s[site] = max(record.timestamp.timestamp(), self._newest_s.get(site, 0.0))
        for site in {arrival.envelope.site for arrival in batch}:
            self._newest.labels(site).set(self._newest_s[site])


class Counted(Protocol):
    """What is read of an ingest."""

    @property
    def repeats(self) -> int: ...
    @property
    def dead_letters(self) -> int: ...


class IngestState(Collector):
    """Totals that ingest keeps itself."""

    def __init__(self, ingest: Counted) -> None:
        self._ingest = ingest

    def collect(self) -> Iterator[Metric]:
        """Repeats and dead letters."""
        yield CounterMetricFamily(
            "centre_ingest_repeats", "records that were there already", self._ingest.repeats
        )
        yield CounterMetricFamily(
            "centre_ingest_dead_letters", "messages that could not be read", self._ingest.dead_letters
        )
