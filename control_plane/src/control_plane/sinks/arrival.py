"""A record as it came in, with what its headers said."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from shared.envelope import Envelope
from shared.schemas import Record

CENTRE_STORE = "centre-"  # how a store id begins where the centre scored; the site's own follows


class Arrival(NamedTuple):
    """One validated record, its exact body (JSON bytes) and its envelope."""

    record: Record
    body: bytes
    envelope: Envelope


class Sink(Protocol):
    """Takes batches; returns when they are durable, raises Retryable when it cannot take them now."""

    def accept(self, batch: Sequence[Arrival]) -> None: ...
