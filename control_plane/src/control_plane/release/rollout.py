"""A roll-out as a pure function of its journal: what was commanded, and what each site answered."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from control_plane.release.journal import ANSWERS, Event, Kind, outstanding

__all__ = ["Event", "Kind", "RolloutState", "outstanding", "states"]


@dataclass
class RolloutState:
    """Where a roll-out stands: the last word for each site."""

    rollout_id: str
    release: str
    generation: int
    sites: dict[str, Event] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Every commanded site has committed."""
        return bool(self.sites) and all(event.kind is Kind.COMMITTED for event in self.sites.values())


def states(events: Iterable[Event]) -> dict[str, RolloutState]:
    """Every roll-out by id. An answer counts only for the generation that the site was commanded last."""
    found: dict[str, RolloutState] = {}
    for event in events:
        if event.kind is Kind.STARTED:
            found[event.rollout_id] = RolloutState(event.rollout_id, event.detail, event.generation)
            continue
        state = found.get(event.rollout_id)
        if state is None:
            continue
        known = state.sites.get(event.site)
        answers = event.kind in ANSWERS and known is not None and known.generation == event.generation
        if event.kind is Kind.COMMANDED or answers:
            state.sites[event.site] = event
    return found
