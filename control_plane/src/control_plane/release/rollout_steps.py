"""What is to be done next about the roll-outs: a pure function of the journal and the time.

A pause holds every step forward; it never holds the way back.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from control_plane.release.journal import Event
from control_plane.release.rollout import End, Rollout, Rollouts, Verdict
from control_plane.release.rollout_gate import gate, too_many
from control_plane.release.rollout_plan import CANARY


class Open(NamedTuple):
    """Let the sites of a ring be commanded."""

    rollout_id: str
    ring: int


class Decide(NamedTuple):
    """Put a gate's verdict on the record."""

    rollout_id: str
    ring: int
    verdict: Verdict
    why: str


class Forward(NamedTuple):
    """Name the release in the site's director metadata."""

    rollout_id: str
    site: str


class Back(NamedTuple):
    """Name the fallback in the site's director metadata."""

    rollout_id: str
    site: str


class Finish(NamedTuple):
    """The roll-out has nothing more to do."""

    rollout_id: str
    end: End


Action = Open | Decide | Forward | Back | Finish


def plan(events: Iterable[Event], now: datetime) -> list[Action]:
    """What to do next, in order. The same journal and time give the same answer."""
    return steps(Rollouts(events), now)


def steps(rollouts: Rollouts, now: datetime) -> list[Action]:
    """The same, of a journal that was read already."""
    return [action for rollout in rollouts for action in _steps(rollout, rollouts.newer(rollout), now)]


def _steps(rollout: Rollout, taken: set[str], now: datetime) -> Iterator[Action]:
    """Of one roll-out; the sites in `taken` follow a later one."""
    own, told = rollout.rollout_id, [s for s in rollout.sites.values() if s.site not in taken]
    if rollout.end is End.ROLLED_BACK:
        return
    if rollout.stopping:
        back = [Back(own, site.site) for site in told if site.generation and not site.back]
        yield from back
        if not back:
            yield Finish(own, End.ROLLED_BACK)
        return
    if not rollout.end:
        spent = too_many(rollout, now)
        if spent:
            yield Decide(own, max(rollout.ring, CANARY), Verdict.FAIL, spent)
            return
    if rollout.paused:
        return
    for site in told:
        if site.generation == 0 and site.ring <= rollout.ring and rollout.plan.allows(site.site, now):
            yield Forward(own, site.site)
    if not rollout.end:
        yield from _promotion(rollout, now)


def _promotion(rollout: Rollout, now: datetime) -> Iterator[Action]:
    """The gate of the newest ring, and what it opens."""
    own, ring = rollout.rollout_id, rollout.ring
    if ring < CANARY:
        yield Open(own, CANARY)
        return
    verdict, why = gate(rollout, ring, now)
    if rollout.gates.get(ring) != (verdict, why):
        yield Decide(own, ring, verdict, why)
    if verdict is Verdict.PASS or ring in rollout.promoted:
        last = ring + 1 >= len(rollout.plan.rings)
        yield Finish(own, End.COMPLETED) if last else Open(own, ring + 1)


def joins(rollouts: Rollouts, sites: Iterable[str]) -> list[tuple[Rollout, str]]:
    """Which known sites take part from now on: of each component type in the newest roll-out that is for
    the whole fleet and was not rolled back, unless another one has the site in hand."""
    newest: dict[str, Rollout] = {}
    busy: dict[str, set[str]] = {}
    for rollout in rollouts:
        if rollout.whole_fleet and not rollout.stopping:
            newest[rollout.component_type] = rollout
        if not rollout.end:
            busy.setdefault(rollout.component_type, set()).update(rollout.sites)
    return [
        (rollout, site)
        for kind, rollout in newest.items()
        for site in sorted(
            set(sites) - rollout.sites.keys() - busy.get(kind, set()) - rollouts.newer(rollout)
        )
    ]
