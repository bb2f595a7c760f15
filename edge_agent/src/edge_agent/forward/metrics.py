"""How the forwarder fares, read from it when Prometheus asks."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class Forwarding(Protocol):
    """What is read of a forwarder."""

    @property
    def held(self) -> Mapping[str, str]: ...
    @property
    def restarts(self) -> int: ...
    @property
    def trouble(self) -> str | None: ...


class ForwardCollector(Collector):
    """Register one per forwarder."""

    def __init__(self, forwarder: Forwarding) -> None:
        self._forwarder = forwarder

    def collect(self) -> Iterator[Metric]:
        """Held topics by name, producers begun anew, and whether librdkafka complains."""
        held = GaugeMetricFamily(
            "edge_forward_held_topic", "A topic that takes nothing now", labels=["topic"]
        )
        for topic in self._forwarder.held:
            held.add_metric([topic], 1)
        yield held
        yield CounterMetricFamily("edge_forward_restarts", "Producers begun anew", self._forwarder.restarts)
        trouble = float(self._forwarder.trouble is not None)
        yield GaugeMetricFamily("edge_forward_trouble", "1 while Kafka is away or refuses this site", trouble)
