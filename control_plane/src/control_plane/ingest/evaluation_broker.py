"""librdkafka's in-memory mock cluster as a broker for evaluation, at an address one can choose.

It speaks Kafka's protocol to any client, keeps about 5 MB a partition in memory, and forgets all of
it when it ends. The mock listens on a port of its own choosing; clients bootstrap through ours and
learn the other from its metadata.
"""

import asyncio

from confluent_kafka import Producer

from shared.errors import ConfigError
from shared.listen import require_loopback
from shared.schemas import DLQ_SUFFIX, TOPICS

NOTICE = (
    "evaluation broker: in memory, about 5 MB a partition, everything is forgotten when it ends; "
    "use Apache Kafka where a reading must not be lost"
)
METADATA_TIMEOUT_S = 10.0
CHUNK_BYTES = 65_536


async def run_broker(host: str, port: int) -> None:
    """Serve until cancelled; ConfigError when the port is taken or not on loopback."""
    require_loopback(host, "--listen")
    mock = Producer({"test.mock.num.brokers": 1, "log_level": 3})
    for topic in TOPICS:  # asking makes them, so that no consumer waits for the first record
        for name in (topic, topic + DLQ_SUFFIX):
            metadata = await asyncio.to_thread(mock.list_topics, name, METADATA_TIMEOUT_S)
    target = next(iter(metadata.brokers.values()))
    try:
        server = await asyncio.start_server(lambda r, w: _splice(r, w, target.host, target.port), host, port)
    except OSError as error:
        raise ConfigError("--listen", [f"{host}:{port} cannot be used: {error.strerror}"]) from error
    async with server:
        await server.serve_forever()


async def _splice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    """Join a client's connection to the mock's own port."""
    broker_reader, broker_writer = await asyncio.open_connection(host, port)
    await asyncio.gather(_pump(reader, broker_writer), _pump(broker_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass  # one side went away; closing the other tells it
    finally:
        writer.close()
