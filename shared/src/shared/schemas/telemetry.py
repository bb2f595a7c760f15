"""What one poll of one component saw (PRD 2.2, with quality)."""

from enum import StrEnum
from typing import ClassVar, Self

from pydantic import Field, model_validator

from shared.schemas.base import ComponentRecord


class Quality(StrEnum):
    """Why a tag has no number. A tag that is good does not appear in `quality` at all."""

    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    DEVICE_EXCEPTION = "device_exception"
    NOT_A_NUMBER = "not_a_number"
    OUT_OF_RANGE = "out_of_range"
    STALE = "stale"  # the plant's own cycle counter has stopped, or the value is of another cycle
    NO_BIRTH = "no_birth"  # Sparkplug B: sent by an alias that no birth certificate has explained yet


class Telemetry(ComponentRecord):
    """One poll: numbers for the good tags, a reason for each other one; never both for a tag.

    `cycle` is the plant's own counter; None when it could not be read.
    Units and ranges of the metrics are those of the component's tags in `reactor_config.yaml`.
    """

    SCHEMA: ClassVar[str] = "telemetry/1"
    cycle: int | None = Field(default=None, ge=0)
    metrics: dict[str, float]
    quality: dict[str, Quality] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bad_tags_have_no_number(self) -> Self:
        both = self.metrics.keys() & self.quality.keys()
        if both:
            raise ValueError(f"a tag with bad quality carries no number: {sorted(both)}")
        return self
