"""The site's people keep its models as they are for a while: a small file in the agent's data folder.

Whoever may write in that folder may hold. A hold stops trials and commits, never a roll-back.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from shared.config_errors import describe
from shared.schemas import Frozen, UtcTime, utc_now
from shared.schemas.alert import OPERATOR_CHARS_MAX, REASON_CHARS_MAX

HOLD_MAX = timedelta(days=31)  # an outage is shorter; whoever wants more decides anew
BYTES_MAX = 16 * 1024  # of the file


class Hold(Frozen):
    """Until when, who says so, and why."""

    until: UtcTime
    operator: str = Field(min_length=1, max_length=OPERATOR_CHARS_MAX)
    reason: str = Field(min_length=1, max_length=REASON_CHARS_MAX)
    since: UtcTime = Field(default_factory=utc_now)

    @model_validator(mode="after")
    def _for_a_time(self) -> Self:
        if not timedelta() < self.until - self.since <= HOLD_MAX:
            raise ValueError(f"models are held for {HOLD_MAX.days} days at most, and until a time to come")
        return self

    @property
    def text(self) -> str:
        """For people and for the centre."""
        return f"until {self.until:%Y-%m-%dT%H:%MZ} by {self.operator}: {self.reason}"


class HoldFile:
    """Both sides of `model-hold.json`."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "model-hold.json"

    def read(self, now: datetime) -> Hold | None:
        """The hold that stands. ValueError when the file cannot be read: nobody knows what was meant."""
        try:
            with self._path.open("rb") as file:
                data = file.read(BYTES_MAX)
        except FileNotFoundError:
            return None
        try:
            hold = Hold.model_validate_json(data)
        except ValidationError as error:
            raise ValueError(f"{self._path}: {'; '.join(describe(error))}") from error
        return hold if hold.until > now else None

    def write(self, hold: Hold) -> None:
        """Whole or not at all, a power loss included."""
        temporary = self._path.with_suffix(".new")
        with temporary.open("w") as file:
            file.write(hold.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)

    def remove(self) -> None:
        """End the hold."""
        self._path.unlink(missing_ok=True)
