"""Where each roll-out stands, worked out from the journal line by line: no clock, nothing else is kept."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from control_plane.release.journal import ANSWERS, Event, Health, Kind, component_type
from control_plane.release.rollout_plan import CANARY, Limits, Plan

FAILURES = frozenset({Kind.REFUSED, Kind.ROLLED_BACK})
AT_ONCE = Plan(
    rings_percent=(), soak_s=0, gate=Limits(windows_min=0)
)  # of the first release, which had no plan


class Verdict(StrEnum):
    """What a gate says of a ring; inconclusive holds."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class End(StrEnum):
    """How a roll-out ended: the detail of a DONE line."""

    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"


@dataclass
class SiteState:
    """One site in one roll-out: its last command and its last word on that command."""

    site: str
    ring: int
    generation: int = 0  # of the last command; 0 before the first
    commanded_at: datetime | None = None
    release: str = ""  # that the last command names; empty when it withdrew the model
    back: bool = False  # the last command was to go back
    answer: Kind | None = None
    detail: str = ""
    answered_at: datetime | None = None
    health: Health | None = None
    failure: str = ""  # of the release, in the site's words; kept when it goes back

    @property
    def where(self) -> str:
        """In a word; every site is always somewhere."""
        if self.generation == 0:
            return "waiting"
        if not self.back:
            return (self.answer or Kind.COMMANDED).value
        if not self.release:
            return "withdrawn"
        if self.answer is Kind.COMMITTED:
            return "back"
        return "not_back" if self.answer in FAILURES else "going_back"

    def command(self, line: Event) -> None:
        """A command replaces the one before; what the site said of that one no longer counts."""
        if line.generation <= self.generation:
            return
        told = _document(line.detail)
        self.generation, self.commanded_at = line.generation, line.at
        self.release, self.back = str(told.get("release", line.detail)), bool(told.get("back"))
        self.answer, self.detail, self.answered_at, self.health = None, "", None, None

    def hear(self, line: Event) -> None:
        """A word on the last command; a failure is not taken back by a later word on the same command."""
        if not self.generation or line.generation != self.generation or self.answer in FAILURES:
            return
        if line.kind is Kind.HEALTH:
            self.health = Health.model_validate_json(line.detail)
        elif line.kind is not self.answer or line.detail != self.detail:
            self.answer, self.detail, self.answered_at = line.kind, line.detail, line.at
            if line.kind in FAILURES and not self.back:
                self.failure = line.detail


@dataclass
class Rollout:
    """One roll-out. `stopping` says why it goes back, `end` how it ended; both are empty while it runs."""

    rollout_id: str
    release: str
    component_type: str
    plan: Plan
    started_at: datetime
    by: str = ""
    whole_fleet: bool = False  # sites that are enrolled later take part too
    sites: dict[str, SiteState] = field(default_factory=dict)
    ring: int = CANARY - 1  # the newest that is open
    gates: dict[int, tuple[Verdict, str]] = field(default_factory=dict)
    promoted: dict[int, str] = field(default_factory=dict)
    paused: str = ""  # by whom
    stopping: str = ""
    end: str = ""

    @property
    def state(self) -> str:
        """In a word."""
        if self.end:
            return self.end
        return "rolling_back" if self.stopping else "paused" if self.paused else "running"

    @property
    def done(self) -> bool:
        """Every site has committed."""
        found = self.sites.values()
        return bool(found) and all(site.where == Kind.COMMITTED for site in found)

    def members(self, ring: int) -> list[SiteState]:
        """The sites of a ring, by name."""
        return [self.sites[name] for name in sorted(self.sites) if self.sites[name].ring == ring]

    def hear(self, line: Event) -> None:
        """One line of the journal that names this roll-out."""
        if line.site:
            self._hear_of_site(line)
            return
        told = _document(line.detail)
        by = str(told.get("by", ""))
        match line.kind:
            case Kind.RING:
                self.ring = max(self.ring, int(told["ring"]))
            case Kind.GATE:
                self.gates[int(told["ring"])] = (Verdict(told["verdict"]), str(told["why"]))
                if told["verdict"] == Verdict.FAIL:
                    self._stop(str(told["why"]))
            case Kind.PAUSED:
                self.paused = by or "somebody"
            case Kind.RESUMED:
                self.paused = ""
            case Kind.PROMOTED if not (self.paused or self.stopping):
                self.promoted[int(told["ring"])] = by
            case Kind.ABORTED:
                self._stop(f"aborted by {by}" + (f": {told['why']}" if told.get("why") else ""))
            case Kind.DONE:
                self.end = End(line.detail)

    def _hear_of_site(self, line: Event) -> None:
        if line.kind in (Kind.JOINED, Kind.COMMANDED):
            self.sites.setdefault(line.site, SiteState(line.site, self.plan.ring_of(line.site)))
        site = self.sites.get(line.site)
        if site is None:
            return  # a word of a site that has no part in this
        if line.kind is Kind.COMMANDED:
            site.command(line)
        elif line.kind is Kind.HEALTH or line.kind in ANSWERS:
            site.hear(line)

    def _stop(self, why: str) -> None:
        if self.end != End.ROLLED_BACK:
            self.stopping, self.end = self.stopping or why, ""


class Rollouts:
    """Every roll-out by id, oldest first; lines may be added as they come."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._all: dict[str, Rollout] = {}
        for line in events:
            self.hear(line)

    def hear(self, line: Event) -> None:
        """One more line of the journal; one that names no roll-out is nobody's."""
        if line.kind is not Kind.STARTED:
            known = self._all.get(line.rollout_id)
            if known is not None:
                known.hear(line)
        elif line.rollout_id not in self._all:
            self._all[line.rollout_id] = _begun(line)

    def __iter__(self) -> Iterator[Rollout]:
        return iter(self._all.values())

    def get(self, rollout_id: str) -> Rollout | None:
        """The roll-out of that id."""
        return self._all.get(rollout_id)

    def newer(self, rollout: Rollout) -> set[str]:
        """The sites that a later roll-out of the same component type has: they are no longer this one's."""
        later = False
        found: set[str] = set()
        for other in self:
            if later and other.component_type == rollout.component_type:
                found |= other.sites.keys()
            later = later or other is rollout
        return found


def states(events: Iterable[Event]) -> dict[str, Rollout]:
    """Every roll-out by id, oldest first."""
    return {rollout.rollout_id: rollout for rollout in Rollouts(events)}


def started_detail(release: str, kind: str, plan: Plan, by: str, whole_fleet: bool) -> str:
    """The detail of a STARTED line."""
    told = {"release": release, "component_type": kind, "by": by, "whole_fleet": whole_fleet}
    return json.dumps(told | {"plan": plan.model_dump(mode="json")})


def _begun(line: Event) -> Rollout:
    told = _document(line.detail)
    if not told:  # of the first release: everybody was told at once, and nobody watched
        release = line.detail
        return Rollout(
            line.rollout_id,
            release,
            component_type(line),
            AT_ONCE,
            line.at,
            end=End.COMPLETED,
            ring=len(AT_ONCE.rings),
        )
    return Rollout(
        line.rollout_id, told["release"], told["component_type"], Plan.model_validate(told["plan"]), line.at,
        str(told["by"]), bool(told["whole_fleet"]),
    )  # fmt: skip


def _document(detail: str) -> dict[str, Any]:
    found = json.loads(detail) if detail.startswith("{") else {}
    return found if isinstance(found, dict) else {}
