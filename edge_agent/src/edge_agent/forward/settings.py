"""librdkafka's settings for a producer that may neither lose, repeat nor reorder."""

from collections.abc import Mapping

IN_FLIGHT_ROWS_MAX = 5_000  # given to librdkafka and not reported: bounds memory while Kafka is slow
IN_FLIGHT_BYTES_MAX = 32 * 2**20  # the same, for large records
NEW_TOPIC_WAIT_MS = 5_000  # how long a missing topic may just be new to this broker
Settings = dict[str, str | int | bool]


def producer_config(bootstrap: str, site: str, client: Mapping[str, str]) -> Settings:
    """Every in-sync replica acknowledges, no repeats, order kept, no time limit. `client`: TLS and SASL.

    A message waits for the broker for ever (`message.timeout.ms=0`): the outbox, not librdkafka, decides
    what is given up. A batch that is refused for good ends the producer (`enable.gapless.guarantee`),
    so that nothing behind it overtakes it.
    """
    return {
        **client,
        "bootstrap.servers": bootstrap,
        "client.id": f"edge-agent-{site}",
        "acks": "all",
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "message.timeout.ms": 0,
        "linger.ms": 20,
        "queue.buffering.max.messages": 2 * IN_FLIGHT_ROWS_MAX,  # the forwarder's bounds come first
        "queue.buffering.max.kbytes": 2 * IN_FLIGHT_BYTES_MAX // 1024,
        "retry.backoff.ms": 100,
        "retry.backoff.max.ms": 2_000,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 5_000,
        "topic.metadata.refresh.interval.ms": 10_000,
        "topic.metadata.propagation.max.ms": NEW_TOPIC_WAIT_MS,
        "compression.type": "lz4",
    }


def one_by_one(settings: Settings) -> Settings:
    """The same with a batch for each record: a refusal is then of that record."""
    return {**settings, "batch.num.messages": 1, "linger.ms": 0}
