"""How a site is doing, and what it had to give up."""

from typing import ClassVar, Literal

from pydantic import Field

from shared.schemas.base import SiteRecord
from shared.schemas.prediction import ModelRef


class SiteStatus(SiteRecord):
    """A site's heartbeat. `store_id` names the outbox; `last_seq` is its newest row number.

    Every row up to `settled_seq` was acknowledged by Kafka or given up when this was said, so the site
    will never send one again (None: an agent that does not say so).

    `components` says which model scores each component now (empty: none yet).
    """

    SCHEMA: ClassVar[str] = "status/1"
    agent_version: str
    store_id: str
    last_seq: int = Field(ge=0)
    settled_seq: int | None = Field(default=None, ge=0)
    outbox_rows: int = Field(ge=0)
    polls: int = Field(ge=0)
    polls_failed: int = Field(ge=0)
    models: dict[str, ModelRef]


class GapRecord(SiteRecord):
    """Rows `[from_seq, to_seq]` of `store_id` were given up, and why (invariant 2)."""

    SCHEMA: ClassVar[str] = "gap/1"
    store_id: str
    from_seq: int = Field(ge=1)
    to_seq: int = Field(ge=1)
    count: int = Field(ge=1)
    reason: Literal["outbox_full", "corrupt", "disk_full", "rejected"]
