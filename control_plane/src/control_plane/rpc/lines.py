"""What the fleet service holds of each connected site, and of the journal: bounded by the number of sites."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from control_plane.release.journal import FINAL, Event, Kind, Numbered, component_type

ANSWERS_MAX = 64  # of a site, until the journal has them: a handful of component types, a few states each


@dataclass(eq=False)
class Line:
    """One site's open stream. `serial` is its certificate's, 0 in clear; `ended` why the centre ends it."""

    site: str
    serial: int
    heard: float
    models: list[dict[str, Any]]
    noted: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sent: set[tuple[str, int]] = field(default_factory=set)
    witnessed: int = -1
    ended: str | None = None

    def end(self, reason: str) -> None:
        """Close the stream, soon."""
        self.ended = self.ended or reason
        self.wake.set()


class Commands:
    """The commands that sites have not answered for good, kept up line by line.

    The same as `journal.outstanding` over the whole journal, which grows where this doesn't.
    """

    def __init__(self) -> None:
        self.number = 0  # of the last line taken
        self._types: dict[str, str] = {}
        self._newest: dict[str, dict[str, Event]] = {}

    def take(self, line: Numbered) -> str:
        """Go on by one line; the site whose commands changed, or nothing."""
        self.number, event = line
        if event.kind is Kind.STARTED:
            self._types[event.rollout_id] = component_type(event)
        elif event.kind is Kind.COMMANDED:
            kind = self._types.get(event.rollout_id, event.rollout_id)
            own = self._newest.setdefault(event.site, {})
            own.pop(kind, None)  # the newest stands last
            own[kind] = event
            return event.site
        elif event.kind in FINAL:
            self._answered(event)
        return ""

    def of(self, site: str) -> list[Event]:
        """What the site is to be told, oldest first."""
        return list(self._newest.get(site, {}).values())

    def _answered(self, event: Event) -> None:
        own = self._newest.get(event.site, {})
        command = (event.rollout_id, event.generation)
        for kind in [kind for kind, e in own.items() if (e.rollout_id, e.generation) == command]:
            del own[kind]
        if not own:
            self._newest.pop(event.site, None)


class Answers:
    """What sites said and the journal doesn't have yet: of health reports only the newest of each trial."""

    def __init__(self) -> None:
        self._said: dict[str, dict[tuple[object, ...], Event]] = {}

    def add(self, event: Event) -> None:
        """Keep a line for the journal, in the order in which the site said it."""
        own = self._said.setdefault(event.site, {})
        health = event.kind is Kind.HEALTH
        own[(event.rollout_id, event.generation) if health else (len(own), event)] = event

    def full(self, site: str) -> bool:
        """Whether the site has said as much as is kept for it: it is not listened to meanwhile."""
        return len(self._said.get(site, ())) >= ANSWERS_MAX

    def take(self) -> list[Event]:
        """Everything; nothing is kept."""
        taken, self._said = self._said, {}
        return [event for own in taken.values() for event in own.values()]
