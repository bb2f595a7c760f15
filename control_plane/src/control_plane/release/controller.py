"""Carries roll-outs on: writes sites' director metadata, then the journal. Dying in between is made good.

It holds online director keys alone: it can choose among approved releases, and go back to one, with nobody
awake. What is next is worked out anew from the journal before every step, so that a pause that came meanwhile
holds; nothing else is remembered.
"""

import asyncio
import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import structlog
from securesystemslib.signer import Signer

from control_plane.audit.centre_log import CentreAct, CentreLog
from control_plane.release.director import Director, Files
from control_plane.release.fleet_store import FleetStore
from control_plane.release.image import FILES, ImageRepository
from control_plane.release.journal import Event, Kind
from control_plane.release.rollout import End, Rollouts, Verdict
from control_plane.release.rollout_plan import CANARY
from control_plane.release.rollout_steps import Action, Back, Decide, Finish, Forward, Open, joins, steps
from shared.errors import PmStackError, Rejected, Retryable
from shared.schemas import Assignment, utc_now

TICK_PERIOD_S = (
    1.0  # what a person waits for after a button; a look at an unchanged journal takes a millisecond
)
BATCH = 20  # sites commanded between two looks at the journal: a pause waits for so many at most
STEPS_MAX = 10_000  # of one tick: far above any fleet's; an error here must not spin for ever
THE_CENTRE = "the centre"

log = structlog.get_logger()


class Controller:
    """One at a time may work on a repository: see `controller_lock`. Blocking."""

    def __init__(
        self, repository: Path, store: FleetStore, keys: Mapping[str, Signer], record: CentreLog
    ) -> None:
        self._repository, self._store, self._keys, self._record = repository, store, keys, record
        self._image = ImageRepository(repository)
        self._rollouts, self._seen = Rollouts(), 0
        self._recovered = False
        self._said: set[str] = set()

    def tick(self, now: datetime) -> int:
        """Everything that is to be done now; how many steps that were."""
        try:
            return self._tick(now)
        except BaseException:
            self._rollouts, self._seen, self._recovered = Rollouts(), 0, False  # begin again from the journal
            raise

    def _tick(self, now: datetime) -> int:
        if not self._recovered:
            self._read()
            self._recover(now)
            self._recovered = True
        self._read()
        self._join(now)
        self._withdraw_revoked(now)
        stuck: set[Action] = set()
        for done in range(STEPS_MAX):
            self._read()
            todo = [action for action in steps(self._rollouts, now) if action not in stuck]
            if not todo:
                return done
            if isinstance(todo[0], Forward | Back):
                stuck |= self._command(todo[:BATCH], now)
            else:
                self._decide(todo[0], now)
        return STEPS_MAX

    def _read(self) -> None:
        for line in self._store.events(self._seen):
            self._rollouts.hear(line.event)
            self._seen = line.number

    def _recover(self, now: datetime) -> None:
        """What the metadata says and the journal does not: written by a controller that then died."""
        lines = []
        for site, director in self._directors():
            if director.half_written():
                director.complete(self._keys[site])
            for release, assignment in director.runs().values():
                rollout = self._rollouts.get(assignment.rollout_id)
                known = rollout.sites.get(site) if rollout else None
                if rollout and (known is None or known.generation < assignment.generation):
                    lines.append(_commanded(rollout.rollout_id, site, assignment, release, now))
        if lines:
            self._store.append(lines)
            log.warning("commands of a controller that died are in the journal now", commands=len(lines))

    def _directors(self) -> Iterator[tuple[str, Director]]:
        for site in self._keys:
            director = Director(self._repository, site)
            if director.root.exists():
                yield site, director

    def _join(self, now: datetime) -> None:
        """Sites that were enrolled later take part in what is under way, or in what was completed last."""
        known = [site for site, _ in self._directors()]
        lines = [
            Event(rollout.rollout_id, 0, site, Kind.JOINED, "", now)
            for rollout, site in joins(self._rollouts, known)
        ]
        if lines:
            self._store.append(lines)
            self._read()

    def _withdraw_revoked(self, now: datetime) -> None:
        """A release that people took back is taken back from the sites too."""
        published = self._image.targets()
        for rollout in self._rollouts:
            runs = rollout.sites.keys() - self._rollouts.newer(rollout)
            if not published or not runs or rollout.stopping or f"{rollout.release}/{FILES[0]}" in published:
                continue
            told = json.dumps({"by": THE_CENTRE, "why": f"{rollout.release} is no longer published"})
            self._store.append([Event(rollout.rollout_id, 0, "", Kind.ABORTED, told, now)])

    def _command(self, actions: list[Action], now: datetime) -> set[Action]:
        """Command sites: their metadata, then the journal together. Those that could not be are returned:
        one site must not keep the others waiting."""
        lines: list[Event] = []
        stuck: set[Action] = set()
        for action in actions:
            if not isinstance(action, Forward | Back):
                break
            try:
                lines.append(self._assign(action, now))
            except PmStackError as error:
                stuck.add(action)
                self._say_once(f"{action.site} cannot be commanded: {error}")
        if lines:
            self._store.append(lines)
        return stuck

    def _assign(self, action: Forward | Back, now: datetime) -> Event:
        rollout = self._rollouts.get(action.rollout_id)
        director = Director(self._repository, action.site)
        if rollout is None or action.site not in self._keys or not director.root.exists():
            raise Rejected("there is no director repository, or no director key, of this site")
        published, back = self._image.targets(), isinstance(action, Back)
        assignment = Assignment(
            component_type=rollout.component_type,
            mode="fallback" if back else "canary" if rollout.sites[action.site].ring == CANARY else "active",
            rollout_id=rollout.rollout_id,
            generation=1 + max(director.generation(), rollout.sites[action.site].generation),
        )
        if back:
            release = director.fall_back(assignment, published, self._keys[action.site])
        else:
            release = rollout.release
            director.assign(files_of(published, release), assignment, self._keys[action.site])
        return _commanded(rollout.rollout_id, action.site, assignment, release, now)

    def _decide(self, action: Action, now: datetime) -> None:
        """Put a decision on the record, unless the journal went on: then it is to be taken anew."""
        try:
            self._store.append([_decision(action, now)], after=self._seen)
        except Retryable:
            return
        if isinstance(action, Decide) and action.verdict is not Verdict.INCONCLUSIVE:
            self._record.note(
                CentreAct.GATE_DECIDED,
                action.rollout_id,
                ring=action.ring,
                verdict=action.verdict,
                why=action.why,
            )
            log.info(
                "gate", rollout=action.rollout_id, ring=action.ring, verdict=action.verdict, why=action.why
            )
        if isinstance(action, Finish) and action.end is End.ROLLED_BACK:
            self._record.note(CentreAct.ROLLOUT_ROLLED_BACK, action.rollout_id)

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.error(text)


def files_of(published: Files, release: str) -> Files:
    """The files of a release among the published targets; Rejected when it is not there."""
    paths = [f"{release}/{file}" for file in FILES]
    if not all(path in published for path in paths):
        raise Rejected(f"{release} is not published")
    return {path: published[path] for path in paths}


async def run_controller(
    repository: Path, store: FleetStore, keys: Mapping[str, Signer], record: CentreLog
) -> NoReturn:
    """Tick until cancelled; while another controller holds the lock, stand by."""
    while True:
        try:
            with controller_lock(repository):
                await _tick_for_ever(Controller(repository, store, keys, record))
        except Retryable as error:
            log.info("roll-outs stand by", reason=str(error))
        await asyncio.sleep(TICK_PERIOD_S)


async def _tick_for_ever(controller: Controller) -> NoReturn:
    failed = ""
    while True:
        ticking = asyncio.create_task(asyncio.to_thread(controller.tick, utc_now()))
        try:
            await asyncio.shield(ticking)
            failed = ""
        except asyncio.CancelledError:
            await asyncio.wait([ticking])  # else the next controller would begin beside it
            raise
        except Exception as error:  # what fails today, a full disk for one, may work at the next tick
            if repr(error) != failed:
                failed = repr(error)
                log.exception("a tick failed; begins again from the journal")
        await asyncio.sleep(TICK_PERIOD_S)


@contextmanager
def controller_lock(repository: Path) -> Iterator[None]:
    """Held by the one process that writes director metadata; Retryable when another has it."""
    repository.mkdir(parents=True, exist_ok=True)
    with (repository / "controller.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Retryable("another controller works on this repository") from error
        yield


def _commanded(rollout_id: str, site: str, assignment: Assignment, release: str, now: datetime) -> Event:
    told = {"release": release, "mode": assignment.mode, "back": assignment.mode == "fallback"}
    return Event(rollout_id, assignment.generation, site, Kind.COMMANDED, json.dumps(told), now)


def _decision(action: Action, now: datetime) -> Event:
    match action:
        case Open(rollout_id, ring):
            return Event(rollout_id, 0, "", Kind.RING, json.dumps({"ring": ring}), now)
        case Decide(rollout_id, ring, verdict, why):
            told = json.dumps({"ring": ring, "verdict": verdict, "why": why})
            return Event(rollout_id, 0, "", Kind.GATE, told, now)
        case Finish(rollout_id, end):
            return Event(rollout_id, 0, "", Kind.DONE, end.value, now)
    raise TypeError(f"{action} commands a site")
