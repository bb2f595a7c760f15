"""Many readings on Kafka, as sites' forwarders would have put them there."""

from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaError, Message, Producer

from edge_agent.forward.settings import producer_config
from shared.envelope import headers
from shared.schemas import Outgoing, Telemetry

SITES = 10
COMPONENTS = ("coolant_pump", "heat_exchanger", "steam_generator", "turbine")
METRICS = ("flow_rate", "vibration_rms", "bearing_temp", "motor_current", "inlet_pressure", "outlet_pressure")
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)  # within Kafka's retention
FLUSH_S = 120.0


def store_of(site: int) -> str:
    """The store of a site's outbox."""
    return f"00000000-0000-4000-8000-{site:012d}"


def reading(number: int) -> tuple[Outgoing, int, int]:
    """`(record, site, seq)` of reading `number`: the sites in turn, each one's row numbers from 1."""
    site, seq = number % SITES, number // SITES + 1
    values = {name: round(90.0 + (seq * 37 + n * 11) % 1000 / 100, 3) for n, name in enumerate(METRICS)}
    record = Telemetry(
        timestamp=START + timedelta(seconds=seq), site_id=f"S{site:02d}", reactor_id="R1",
        component=COMPONENTS[seq % len(COMPONENTS)], cycle=seq, metrics=values,
    )  # fmt: skip
    return record.outgoing(), site, seq


def send(bootstrap: str, first: int, last: int) -> None:
    """Put readings `first` to `last - 1` on telemetry_raw; returns when Kafka holds them."""
    producer, failed = Producer(producer_config(bootstrap, "LOAD", {})), []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.str())

    for number in range(first, last):
        record, site, seq = reading(number)
        marks = headers(record, store_of(site), seq, "c" * 64)
        while True:
            try:
                producer.produce(
                    "telemetry_raw", record.body, record.key, timestamp=record.time_ms, headers=marks,
                    on_delivery=delivered,
                )  # fmt: skip
                break
            except BufferError:  # librdkafka's queue is full: let it send
                producer.poll(0.05)
        if number % 500 == 0:
            producer.poll(0)
    left = producer.flush(FLUSH_S)
    assert not left, f"{left} readings were not delivered"
    assert not failed, failed[0]
