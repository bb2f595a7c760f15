"""What the features of a model are, and the hash by which both sides know they agree."""

import hashlib
from typing import Annotated, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

WINDOW_CYCLES = 30  # PRD 4.2: sliding windows of 30 cycles


class FeatureSpec(BaseModel):
    """The feature code's version, the tags in order, and the window's length in cycles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal["features/1"] = "features/1"
    component_type: str
    tags: tuple[str, ...] = Field(min_length=1)
    window_cycles: Annotated[int, Field(ge=2, le=1000)] = WINDOW_CYCLES

    def hash(self) -> str:
        """SHA-256 of the spec as RFC 8785 JSON, in hex."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()
