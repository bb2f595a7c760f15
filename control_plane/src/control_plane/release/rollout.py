"""A roll-out as a pure function of its journal: what was commanded, and what each site answered."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    STARTED = "started"
    COMMANDED = "commanded"
    COMMITTED = "committed"
    REFUSED = "refused"


@dataclass(frozen=True)
class Event:
    """One line of the journal; `site` is empty for the roll-out itself."""

    rollout_id: str
    generation: int
    site: str
    kind: Kind
    detail: str
    at: datetime


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
    """Every roll-out by id. An answer counts only for a generation that the site was commanded."""
    found: dict[str, RolloutState] = {}
    for event in events:
        if event.kind is Kind.STARTED:
            found[event.rollout_id] = RolloutState(event.rollout_id, event.detail, event.generation)
            continue
        state = found.get(event.rollout_id)
        if state is None or event.generation != state.generation:
            continue  # an answer to something else
        if event.kind is Kind.COMMANDED or event.site in state.sites:
            state.sites[event.site] = event
    return found


def outstanding(events: Iterable[Event], site: str) -> list[Event]:
    """What the site was commanded and has not answered, oldest first."""
    waiting = [state.sites[site] for state in states(events).values() if site in state.sites]
    return [event for event in waiting if event.kind is Kind.COMMANDED]
