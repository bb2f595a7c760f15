"""Topics that take nothing for now, so that a missing or forbidden one does not stop the others."""

import time
from collections.abc import Callable

import structlog

from edge_agent.forward.backoff import Backoff

HOLD_FIRST_S = 1.0  # before a held topic is tried again, with one record
HOLD_MAX_S = 60.0  # an operator who makes the topic sees it filled within a minute

log = structlog.get_logger()


class Hold:
    """One topic's: `first` is its first row that was passed over; `probe` the row that tries it now."""

    def __init__(self, first: int, reason: str) -> None:
        self.first, self.reason = first, reason
        self.probe: int | None = None
        self.until = 0.0
        self.backoff = Backoff(HOLD_FIRST_S, HOLD_MAX_S)


class Holds:
    """Every held topic, by name."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._held: dict[str, Hold] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def reasons(self) -> dict[str, str]:
        """Why each topic is held."""
        return {topic: hold.reason for topic, hold in list(self._held.items())}

    def passes_over(self, topic: str, seq: int) -> bool:
        """Whether this row must wait for its topic; it is then read again when the hold ends."""
        hold = self._held.get(topic)
        if hold is None or hold.probe == seq:
            return False
        hold.first = min(hold.first, seq)
        return True

    def refused(self, topic: str, seq: int, reason: str) -> None:
        """The topic did not take the row: hold it, or hold it for longer."""
        hold = self._held.get(topic)
        if hold is None:
            hold = self._held[topic] = Hold(seq, reason)
            log.error("topic held, its records wait; the others go on", topic=topic, reason=reason)
        if hold.probe in (None, seq) and hold.until <= self._now():
            hold.until = self._now() + hold.backoff.wait_s()
        hold.first, hold.reason = min(hold.first, seq), reason
        hold.probe = None if hold.probe == seq else hold.probe

    def due(self) -> list[tuple[str, Hold]]:
        """The topics to be tried again now."""
        now = self._now()
        return [(topic, h) for topic, h in self._held.items() if h.probe is None and h.until <= now]

    def released(self, topic: str) -> int | None:
        """The topic took a record: the first row passed over meanwhile, None when it was not held."""
        hold = self._held.pop(topic, None)
        if hold is None:
            return None
        log.warning("topic takes records again", topic=topic)
        return hold.first

    def forget_probes(self) -> None:
        """A new producer: nothing is on its way."""
        for hold in self._held.values():
            hold.probe = None
