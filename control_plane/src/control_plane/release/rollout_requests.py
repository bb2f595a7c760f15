"""What people ask of roll-outs: start, pause, resume, abort, promote. Each is on record, refused ones too."""

import json
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from control_plane.audit.centre_log import CentreAct, CentreLog
from control_plane.release.director import Director
from control_plane.release.fleet_store import FleetStore
from control_plane.release.image import ImageRepository
from control_plane.release.journal import Event, Kind
from control_plane.release.rollout import End, Rollout, Rollouts, started_detail
from control_plane.release.rollout_gate import too_many
from control_plane.release.rollout_plan import Plan
from shared.errors import Rejected, Retryable
from shared.schemas import utc_now

TRIES = 20  # a request and a tick that cross: each try is another look at the journal

Decision = Callable[[Rollouts], list[Event]]


class Requests:
    """A person's requests, in their name. Blocking."""

    def __init__(self, repository: Path, store: FleetStore, record: CentreLog, by: str) -> None:
        self._repository, self._store, self._record, self._by = repository, store, record, by

    def start(self, release: str, sites: Iterable[str], plan: Plan, whole_fleet: bool = False) -> str:
        """Begin a roll-out of a published release (`name/version`); its id.

        With `whole_fleet`, sites that are enrolled later take part. Rejected when the release is not
        published, a site has no director repository, or one is in another roll-out of that type.
        """
        named = sorted(set(sites))

        def decide(rollouts: Rollouts) -> list[Event]:
            if not named:
                raise Rejected("no site to roll out to; `control-plane release director` makes one known")
            manifest, _ = ImageRepository(self._repository).release(release)
            self._check_sites(named, plan)
            self._check_free(rollouts, manifest.component_type, named)
            rollout_id = f"{manifest.name}-{manifest.version}-{uuid.uuid4().hex[:8]}"
            told = started_detail(
                release, manifest.component_type, plan.with_canary(named), self._by, whole_fleet
            )
            joined = [_line(rollout_id, Kind.JOINED, site=site) for site in named]
            return [_line(rollout_id, Kind.STARTED, told), *joined]

        return self._decide(decide, CentreAct.ROLLOUT_STARTED, release)[0].rollout_id

    def pause(self, rollout_id: str, why: str = "") -> None:
        """Hold every step forward. The way back is never held."""
        self._ask(rollout_id, Kind.PAUSED, CentreAct.ROLLOUT_PAUSED, why, _pausable)

    def resume(self, rollout_id: str, why: str = "") -> None:
        """Go on."""
        self._ask(rollout_id, Kind.RESUMED, CentreAct.ROLLOUT_RESUMED, why, _paused)

    def abort(self, rollout_id: str, why: str = "") -> None:
        """Stop, and take every site that was commanded back to its fallback; also after completion."""
        self._ask(rollout_id, Kind.ABORTED, CentreAct.ROLLOUT_ABORTED, why, _abortable)

    def promote(self, rollout_id: str, why: str = "") -> None:
        """Let the newest ring pass although it is inconclusive; never where it failed."""
        self._ask(rollout_id, Kind.PROMOTED, CentreAct.ROLLOUT_PROMOTED, why, _promotable)

    def _ask(
        self,
        rollout_id: str,
        kind: Kind,
        act: CentreAct,
        why: str,
        check: Callable[[Rollouts, Rollout], None],
    ) -> None:
        def decide(rollouts: Rollouts) -> list[Event]:
            rollout = rollouts.get(rollout_id)
            if rollout is None:
                raise Rejected(
                    f"there is no roll-out {rollout_id!r}; `control-plane rollout status` lists them"
                )
            check(rollouts, rollout)
            told: dict[str, Any] = {"by": self._by, "why": why, "ring": rollout.ring}
            return [_line(rollout_id, kind, json.dumps(told))]

        self._decide(decide, act, rollout_id, why)

    def _decide(self, decide: Decision, act: CentreAct, subject: str, why: str = "") -> list[Event]:
        """Decide on the journal as it is when the line is written; put what came of it on record."""
        for _ in range(TRIES):
            seen = self._store.events()
            try:
                lines = decide(Rollouts(line.event for line in seen))
            except Rejected as error:
                self._record.note(
                    CentreAct.ROLLOUT_REFUSED, subject, by=self._by, asked=act.value, reason=str(error)
                )
                raise
            try:
                self._store.append(lines, after=seen[-1].number if seen else 0)
            except Retryable:
                continue
            self._record.note(act, lines[0].rollout_id, by=self._by, why=why, release=subject)
            return lines
        raise Retryable("the journal of roll-outs goes on faster than this request; try again")

    def _check_sites(self, sites: list[str], plan: Plan) -> None:
        missing = [site for site in sites if not Director(self._repository, site).root.exists()]
        if missing:
            raise Rejected(
                f"no director repository for {', '.join(missing)}; `control-plane release director` makes one"
            )
        strangers = sorted({*plan.canary, *plan.maintenance_utc} - set(sites))
        if strangers:
            raise Rejected(f"the plan names {', '.join(strangers)}, which is not among the sites")

    @staticmethod
    def _check_free(rollouts: Rollouts, kind: str, sites: list[str]) -> None:
        for rollout in rollouts:
            shared = sorted(rollout.sites.keys() & set(sites))
            if rollout.component_type == kind and not rollout.end and shared:
                raise Rejected(
                    f"{rollout.rollout_id} of {kind} is {rollout.state} at {', '.join(shared)}; "
                    "wait for it, or `control-plane rollout abort` it"
                )


def _pausable(_: Rollouts, rollout: Rollout) -> None:
    if rollout.stopping or rollout.end is End.ROLLED_BACK:
        raise Rejected(f"{rollout.rollout_id} goes back; that is never held")
    if rollout.paused:
        raise Rejected(f"{rollout.rollout_id} is paused already, by {rollout.paused}")
    if rollout.end:
        raise Rejected(f"{rollout.rollout_id} is completed")


def _paused(_: Rollouts, rollout: Rollout) -> None:
    if not rollout.paused:
        raise Rejected(f"{rollout.rollout_id} is not paused; it is {rollout.state}")


def _abortable(rollouts: Rollouts, rollout: Rollout) -> None:
    if rollout.stopping or rollout.end is End.ROLLED_BACK:
        raise Rejected(f"{rollout.rollout_id} goes back already: {rollout.stopping}")
    if not rollout.sites.keys() - rollouts.newer(rollout):
        raise Rejected(f"every site of {rollout.rollout_id} follows a later roll-out; abort that one")


def _promotable(_: Rollouts, rollout: Rollout) -> None:
    if rollout.stopping or rollout.end:
        raise Rejected(f"{rollout.rollout_id} is {rollout.state}; there is no ring to let pass")
    if rollout.paused:
        raise Rejected(f"{rollout.rollout_id} is paused by {rollout.paused}; resume it first")
    spent = too_many(rollout, utc_now())
    if spent:
        raise Rejected(f"{rollout.rollout_id}: the gate fails, and nobody may let that pass: {spent}")
    if not any(site.answer is Kind.COMMITTED for site in rollout.sites.values()):
        raise Rejected(
            f"{rollout.rollout_id}: no site runs {rollout.release} yet; there is nothing to judge by"
        )


def _line(rollout_id: str, kind: Kind, detail: str = "", site: str = "") -> Event:
    return Event(rollout_id, 0, site, kind, detail, utc_now())
