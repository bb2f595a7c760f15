"""The plain way in for one topic (PRD 2.3): `consume_telemetry`, with sinks chosen by what a message says."""

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from control_plane.ingest.consumer import GROUP, Ingest
from control_plane.ingest.known_rows import KnownRows
from control_plane.sinks.arrival import Arrival, Sink
from control_plane.sinks.lake import LakeReader, LakeWriter
from control_plane.sinks.lake_lock import lake_lock
from shared.errors import ConfigError
from shared.kafka_client import VARIABLE, load_client_settings
from shared.reactor_config import FleetConfig
from shared.schemas import TOPICS


class Route(NamedTuple):
    """A sink, and whose records it gets: sites (`TX01`) or components (`TX01/R1/coolant_pump`) in `of`.

    An empty `of` is everyone.
    """

    sink: Sink
    of: frozenset[str] = frozenset()

    def takes(self, arrival: Arrival) -> bool:
        """Whether the record goes this way."""
        key = arrival.record.key
        return not self.of or key in self.of or key.split("/", 1)[0] in self.of


class Routed:
    """A sink that is many: each route's gets its records of the batch, in order."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._done: set[int] = set()  # routes that have the batch which is being retried

    def accept(self, batch: Sequence[Arrival]) -> None:
        """Returns when every route's sink has its part; Retryable when one cannot take it now."""
        for number, route in enumerate(self._routes):
            chosen = [arrival for arrival in batch if route.takes(arrival)]
            if chosen and number not in self._done:
                route.sink.accept(chosen)
                self._done.add(number)
        self._done.clear()


def components_of_type(fleet: FleetConfig, component_type: str) -> frozenset[str]:
    """The keys of all components of a type, for a route."""
    return frozenset(key.key for key, part in fleet.components().items() if part.type == component_type)


def consume_telemetry(
    topic: str,
    routes: Sequence[Route] = (),
    *,
    bootstrap: str | None = None,
    client: Mapping[str, str] | None = None,
    known: KnownRows | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Consume one topic until `stop`: validate, drop repeats, hand each record to the sinks it is routed to.

    Without routes all goes to the lake of PM_DATA_DIR, which knows what it holds. Sinks of your own get
    each record at least once: `known` are the rows that they hold already. Kafka is at `bootstrap`, else
    at PM_KAFKA; its TLS and SASL settings are `client`, else those in the file that KAFKA_CLIENT_CONFIG
    names. What cannot be read goes to `<topic>.dlq`.
    """
    if topic not in TOPICS:
        raise ConfigError("topic", [f"found {topic!r}; there are {', '.join(TOPICS)}"])
    address = bootstrap or os.environ.get("PM_KAFKA", "127.0.0.1:9092")
    if client is None:
        file = os.environ.get(VARIABLE)
        client = load_client_settings(Path(file) if file else None)
    with ExitStack() as held:
        if not routes:
            lake = _lake()
            held.enter_context(lake_lock(lake))
            writer = LakeWriter(lake)
            writer.create()
            routes, known = [Route(writer)], KnownRows(LakeReader(lake).spans())
        ingest = Ingest(
            address, [Routed(routes)], known or KnownRows(), topics=[topic], group=f"{GROUP}-{topic}",
            client=client,
        )  # fmt: skip
        ingest.run(stop or threading.Event())


def _lake() -> Path:
    folder = os.environ.get("PM_DATA_DIR")
    if not folder:
        raise ConfigError("PM_DATA_DIR", ["is not set, and no routes are given"])
    return Path(folder) / "lake"
