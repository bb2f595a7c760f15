"""Where a site stands with what its director wants of it: one answer a component type."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """As in the fleet service's `Acknowledgement`."""

    TRYING = "TRYING"  # verified, runs beside the model in use
    COMMITTED = "COMMITTED"
    REFUSED = "REFUSED"
    ROLLED_BACK = "ROLLED_BACK"  # was committed, then found unwell: the release before it runs again
    HELD = "HELD"  # the site's people keep its models as they are

    @property
    def final(self) -> bool:
        """Whether this release is not tried again until the director names a higher generation."""
        return self in (State.REFUSED, State.ROLLED_BACK)


class Answer(NamedTuple):
    """What the site says of one release: its `identity`, and the `sha256` of its model.

    `detail` is the release as `name/version`, until when it is held, or in words which check failed.
    """

    component_type: str
    rollout_id: str
    generation: int
    identity: str
    sha256: str
    state: State
    detail: str
