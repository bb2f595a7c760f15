"""What goes on the record, and the signed statement of how long the record is."""

from enum import StrEnum
from functools import cached_property
from typing import ClassVar, Literal

from pydantic import Field

from shared.canonical import canonical_json
from shared.schemas.base import Outgoing, SiteRecord
from shared.schemas.prediction import Prediction


class AuditEvent(StrEnum):
    AGENT_STARTED = "agent_started"
    AGENT_STOPPED = "agent_stopped"
    PREDICTION = "prediction"
    SCORING_FAILED = "scoring_failed"
    MODEL_COMMITTED = "model_committed"
    MODEL_REFUSED = "model_refused"
    MODEL_TRYING = "model_trying"
    MODEL_ROLLED_BACK = "model_rolled_back"
    MODEL_HELD = "model_held"
    MODEL_HOLD_ENDED = "model_hold_ended"
    CONFIG_LOADED = "config_loaded"
    CONFIG_REFUSED = "config_refused"
    ALERT = "alert"
    AUDIT_FAILURE = "audit_failure"
    OUTBOX_REPLACED = "outbox_replaced"


class AuditEntry(SiteRecord):
    """One leaf of a site's log. `index` counts from 0; the leaf is this record as RFC 8785 JSON.

    `clock` says whether the operating system held the clock synchronised when the entry was made.
    `detail` holds what the event needs beyond a prediction, as plain strings and numbers.
    """

    SCHEMA: ClassVar[str] = "audit/1"
    index: int = Field(ge=0)
    event: AuditEvent
    clock: Literal["synchronised", "unsynchronised", "unknown"]
    subject: str  # the component key, or the site
    prediction: Prediction | None = None
    detail: dict[str, str | int | float | bool] = Field(default_factory=dict)

    def leaf(self) -> bytes:
        """The bytes that are hashed into the log: RFC 8785 JSON, the same on every machine."""
        return self.canonical

    @cached_property
    def canonical(self) -> bytes:
        """The leaf, worked out once: a site hashes it and sends it."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))

    def outgoing(self) -> Outgoing:
        """The leaf itself travels, so that whoever receives it hashes what the site hashed."""
        return super().outgoing()._replace(body=self.leaf())


class SignedCheckpoint(SiteRecord):
    """A C2SP tlog-checkpoint of a site's log, signed by the site's key (`note` is its text)."""

    SCHEMA: ClassVar[str] = "checkpoint/1"
    size: int = Field(ge=0)
    note: str
