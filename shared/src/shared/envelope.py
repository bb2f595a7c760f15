"""A record's Kafka headers: who made it, which row it was, and CloudEvents' words for the same.

Enters: an outbox row or a message's headers. Leaves: the other of the two. Never: I/O.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from shared.errors import Rejected
from shared.schemas.base import Outgoing

SEQ_DIGITS_MAX = 18  # what fits a column of 64 bits, and SQLite's row number

_CACHED_FIXED = 4_096  # pairs of schema and key: about 5 schemas of 800 components

Value = str | bytes | None
Headers = Mapping[str, Value] | Sequence[tuple[str, Value]] | None


class Envelope(NamedTuple):
    """What the headers say. `(store_id, seq)` identifies the record for ever."""

    schema: str
    site: str
    store_id: str
    seq: int
    config_hash: str


def headers(record: Outgoing, store_id: str, seq: int, config_hash: str) -> dict[str, Value]:
    """Kafka headers of an outbox row (CloudEvents 1.0, Kafka protocol binding, binary mode)."""
    fixed = _fixed(record.schema, record.key, store_id, config_hash)
    return {**fixed, "seq": str(seq), "ce_id": f"{store_id}:{seq}"}


@lru_cache(_CACHED_FIXED)
def _fixed(schema: str, key: str, store_id: str, config_hash: str) -> dict[str, Value]:
    """What all rows of a component's have in common; not to be changed."""
    return {
        "schema": schema,
        "site": key.split("/", 1)[0],
        "store_id": store_id,
        "config_hash": config_hash,
        "ce_specversion": "1.0",
        "ce_source": f"/sites/{key}",
        "ce_type": f"pm-stack-smr.{schema}",
        "content-type": "application/json",
    }


def parse_headers(headers: Headers) -> Envelope:
    """The envelope of a message; Rejected when a header is missing or its number is none."""
    given = dict(headers or ())
    found = {name: _text(given.get(name)) for name in Envelope._fields}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise Rejected(f"missing headers: {', '.join(missing)}")
    if not (found["seq"].isascii() and found["seq"].isdigit() and len(found["seq"]) <= SEQ_DIGITS_MAX):
        raise Rejected(f"header seq: found {found['seq'][:40]!r}; expected a row number")
    return Envelope(
        found["schema"], found["site"], found["store_id"], int(found["seq"]), found["config_hash"]
    )


def _text(value: Value) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
