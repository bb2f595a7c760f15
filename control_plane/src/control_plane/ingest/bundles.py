"""Signed bundles as messages: the records, keys and headers that Kafka would have brought."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from control_plane.ingest.intake import Received
from shared.bundle import FILE_BYTES_MAX, SUFFIX, Bundle, claimed_site, unpack
from shared.checkpoint import VerifierKey
from shared.envelope import headers
from shared.errors import Rejected, Retryable, Untrusted
from shared.schemas import TOPIC_BY_SCHEMA

PUBLISH_DEADLINE_S = 60.0  # for one bundle of at most 32 MiB

KeyOf = Callable[[str], VerifierKey | None]


def bundle_files(folder: Path) -> list[Path]:
    """The bundles of a folder, each store's in order; names are made so that they sort."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read_bundle(path: Path, key_of: KeyOf) -> Bundle:
    """A bundle whose every check passed; Untrusted names the check, Rejected a record not known here."""
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise Untrusted("bundle size", f"found {size} bytes; a bundle has {FILE_BYTES_MAX} at most")
    data = path.read_bytes()
    site = claimed_site(data)
    key = key_of(site)
    if key is None:
        raise Untrusted("bundle key", f"no key of site {site} is known here; give it with --key")
    bundle = unpack(data, key)
    unknown = {row.record.schema for row in bundle.rows} - TOPIC_BY_SCHEMA.keys()
    if unknown:
        raise Rejected(
            f"{path.name}: records of schema {', '.join(sorted(unknown))} are not known to this centre; "
            "bring it up to date, then import the bundle again"
        )
    return bundle


def messages(bundle: Bundle, path: Path) -> Iterator[Received]:
    """Each row as its forwarder would have sent it."""
    own = bundle.manifest
    for seq, record in bundle.rows:
        marks = headers(record, own.store_id, seq, own.config_hash)
        topic = TOPIC_BY_SCHEMA[record.schema]
        yield Received(topic, record.key.encode(), marks, record.body, f"{path.name}/{seq}")


class FileDeadLetters:
    """Dead letters of an import, as JSON lines in one file of the centre."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, message: Received, reason: str) -> None:
        """Append it; it is on the disk when this returns."""
        body = message.body.decode(errors="surrogateescape")
        told = {**dict(message.headers or ()), "body": body, "origin": message.origin, "reason": reason}
        with self._path.open("a") as file:
            file.write(json.dumps(told) + "\n")
            file.flush()
            os.fsync(file.fileno())


class Publisher:
    """Puts bundles' rows on Kafka's topics, for the ingest that runs."""

    def __init__(self, bootstrap: str, client: Mapping[str, str] | None = None) -> None:
        """`client`: librdkafka's TLS and SASL settings, none for a broker without them."""
        own = {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True}
        own["message.timeout.ms"] = int(PUBLISH_DEADLINE_S * 1000)
        self._producer = Producer({**(client or {}), **own})

    def publish(self, bundle: Bundle, path: Path) -> None:
        """Returns when Kafka holds every row; Retryable when it does not take them."""
        failed: list[str] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(str(error))

        for (_, record), message in zip(bundle.rows, messages(bundle, path), strict=True):
            self._producer.produce(
                message.topic, message.body, message.key, timestamp=record.time_ms,
                headers=dict(message.headers or ()), on_delivery=delivered,
            )  # fmt: skip
        left = self._producer.flush(PUBLISH_DEADLINE_S)
        if left or failed:
            reason = (
                failed[0] if failed else f"{left} rows are not delivered after {PUBLISH_DEADLINE_S:.0f} s"
            )
            raise Retryable(f"{path.name}: Kafka did not take it: {reason}; import it again")
