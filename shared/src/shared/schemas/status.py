"""How a site is doing, and what it had to give up."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.schemas.base import SiteRecord, UtcTime
from shared.schemas.prediction import ModelRef


class SiteStatus(SiteRecord):
    """A site's heartbeat. `store_id` names the outbox; `last_seq` is its newest row number.

    Every row up to `settled_seq` was acknowledged by Kafka or given up when this was said, so the site
    will never send one again (None: an agent that does not say so).

    `polls`, `polls_failed` (no value of the plant came) and `polls_missed` (due, but never begun: the one
    before ran over, or the machine was busy; None: an agent that does not say so) count since the agent
    started. `models` says which model scores each component now (empty: none yet).
    """

    SCHEMA: ClassVar[str] = "status/1"
    agent_version: str
    store_id: str
    last_seq: int = Field(ge=0)
    settled_seq: int | None = Field(default=None, ge=0)
    outbox_rows: int = Field(ge=0)
    polls: int = Field(ge=0)
    polls_failed: int = Field(ge=0)
    polls_missed: int | None = Field(default=None, ge=0)
    models: dict[str, ModelRef]


class GapRecord(SiteRecord):
    """`count` rows between `from_seq` and `to_seq` of `store_id` were given up, and why (invariant 2).

    `runs` names each row, as unbroken runs `(first, last)`; it is empty where all of `[from_seq, to_seq]`
    were given up. `by_schema` counts what they held, where that is known (a gap record that was itself
    given up says in the newer one what it had said); `from_time` and `to_time` are the oldest and the
    newest source time in them. Rows the disk would not take get their numbers when it takes this record.
    """

    SCHEMA: ClassVar[str] = "gap/1"
    store_id: str
    from_seq: int = Field(ge=1)
    to_seq: int = Field(ge=1)
    count: int = Field(ge=1)
    reason: Literal["outbox_full", "corrupt", "disk_full", "rejected"]
    runs: tuple[tuple[int, int], ...] = ()
    by_schema: dict[str, int] = Field(default_factory=dict)
    from_time: UtcTime | None = None
    to_time: UtcTime | None = None

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        runs = self.explained()
        if sum(last - first + 1 for first, last in runs) != self.count:
            raise ValueError(f"count is {self.count}; the rows named are {list(runs)}")
        if (runs[0][0], runs[-1][1]) != (self.from_seq, self.to_seq):
            raise ValueError(f"the runs do not reach from {self.from_seq} to {self.to_seq}: {list(runs)}")
        return self

    def explained(self) -> tuple[tuple[int, int], ...]:
        """The rows given up, as unbroken runs `(first, last)`, ascending."""
        return self.runs or ((self.from_seq, self.to_seq),)
