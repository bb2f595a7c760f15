"""Where a site stands with what its director wants of it: one answer a component type."""

from enum import StrEnum
from typing import NamedTuple

from edge_agent.update.release import Release


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

    @classmethod
    def of(cls, release: Release, state: State, detail: str = "") -> "Answer":
        """The answer for a release; where nothing is said its name and version."""
        told, text = release.assignment, detail or release.manifest.folder
        identity = release.identity, release.sha256
        return cls(release.component_type, told.rollout_id, told.generation, *identity, state, text)

    def is_of(self, release: Release) -> bool:
        """Whether it is about this release under this generation."""
        return (self.identity, self.generation) == (release.identity, release.assignment.generation)
