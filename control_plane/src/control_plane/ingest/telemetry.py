"""The plain way in for one topic (PRD 2.3): `consume_telemetry`, with sinks chosen by what a message says."""

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from control_plane.ingest.consumer import GROUP, Ingest
from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.routed import Routed
from control_plane.ingest.routing import Routes, SinkName
from control_plane.sinks.arrival import Sink
from control_plane.sinks.lake import LakeReader, LakeWriter
from control_plane.sinks.lake_lock import lake_lock
from control_plane.sinks.lake_place import settle
from shared.errors import ConfigError
from shared.kafka_client import VARIABLE, load_client_settings
from shared.schemas import TOPICS


def consume_telemetry(
    topic: str,
    sinks: Mapping[SinkName, Sink] | None = None,
    routes: Routes | None = None,
    *,
    bootstrap: str | None = None,
    client: Mapping[str, str] | None = None,
    known: KnownRows | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Consume one topic until `stop`: validate, drop repeats, hand each record to the sinks it is routed to.

    Without sinks all goes to the lake of PM_DATA_DIR (its tables at PM_LAKE), which knows what it holds.
    Sinks of your own get each record at least once, in the order of the mapping: `known` are the rows that
    they hold already.
    Kafka is at `bootstrap`, else at PM_KAFKA; its TLS and SASL settings are `client`, else those in the
    file that KAFKA_CLIENT_CONFIG names. What cannot be read goes to `<topic>.dlq`.
    """
    if topic not in TOPICS:
        raise ConfigError("topic", [f"found {topic!r}; there are {', '.join(TOPICS)}"])
    address = bootstrap or os.environ.get("PM_KAFKA", "127.0.0.1:9092")
    if client is None:
        file = os.environ.get(VARIABLE)
        client = load_client_settings(Path(file) if file else None)
    with ExitStack() as held:
        if not sinks:
            lake = _lake()
            settle(lake, os.environ.get("PM_LAKE"))
            held.enter_context(lake_lock(lake))
            writer = LakeWriter(lake)
            writer.create()
            sinks, known = {"lake": writer}, KnownRows(LakeReader(lake).spans())
        routed = [Routed(name, sink, routes or Routes()) for name, sink in sinks.items()]
        ingest = Ingest(
            address, routed, known or KnownRows(), topics=[topic], group=f"{GROUP}-{topic}", client=client
        )
        ingest.run(stop or threading.Event())


def _lake() -> Path:
    folder = os.environ.get("PM_DATA_DIR")
    if not folder:
        raise ConfigError("PM_DATA_DIR", ["is not set, and no sinks are given"])
    return Path(folder) / "lake"
