"""The site's log: an index, a frontier, a key."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from edge_agent.audit.clock import clock_state
from shared.checkpoint import Checkpoint, VerifierKey, sign_note
from shared.log_key import LogKey
from shared.merkle import Frontier, leaf_hash
from shared.schemas import AuditEntry, AuditEvent, Prediction, SignedCheckpoint

Detail = Mapping[str, str | int | float | bool]


def origin(site_id: str) -> str:
    """The name of a site's log, and of the key that signs it."""
    return f"pm-stack-smr/{site_id}"


class AuditLog:
    """Appends entries in memory; whoever holds it makes them durable before the next is appended."""

    def __init__(
        self, site_id: str, key: LogKey, leaves: Iterable[bytes] = (), start: Frontier | None = None
    ) -> None:
        self._site_id, self._key = site_id, key
        self._frontier = start or Frontier()
        for leaf in leaves:
            self._frontier.append(leaf_hash(leaf))

    @property
    def verifier(self) -> VerifierKey:
        """What the centre checks this log's checkpoints with."""
        return self._key.verifier(origin(self._site_id))

    @property
    def size(self) -> int:
        """Entries so far."""
        return self._frontier.size

    def append(
        self,
        event: AuditEvent,
        subject: str,
        now: datetime,
        *,
        prediction: Prediction | None = None,
        detail: Detail | None = None,
    ) -> AuditEntry:
        """The next entry. A prediction goes in without its window: the digest stands for it."""
        entry = AuditEntry(
            timestamp=now,
            site_id=self._site_id,
            index=self._frontier.size,
            event=event,
            clock=clock_state(),
            subject=subject,
            prediction=_without_window(prediction),
            detail=dict(detail or {}),
        )
        self._frontier.append(leaf_hash(entry.leaf()))
        return entry

    def checkpoint(self, now: datetime) -> SignedCheckpoint:
        """A signed statement of the log as it is now."""
        name = origin(self._site_id)
        text = Checkpoint(name, self._frontier.size, self._frontier.root()).text
        note = sign_note(text, name, self._key.private)
        return SignedCheckpoint(timestamp=now, site_id=self._site_id, size=self._frontier.size, note=note)


def _without_window(prediction: Prediction | None) -> Prediction | None:
    if prediction is None or type(prediction) is Prediction:
        return prediction
    fields = {name: getattr(prediction, name) for name in Prediction.model_fields}
    return Prediction.model_construct(**fields)  # its fields have been checked
