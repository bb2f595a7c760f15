"""Roll-outs and open proposals as the console shows them, and what may be asked of them there."""

import asyncio
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from control_plane.api.rollout_view import ring_rows, site_rows
from control_plane.layout import Layout
from control_plane.release.image import ImageRepository
from control_plane.release.proposal import Proposal
from control_plane.release.rollout import Rollout, Rollouts
from control_plane.release.rollout_requests import Requests
from shared.errors import PmStackError
from shared.schemas import utc_now

ROLLOUTS_MAX = 20  # the newest; `rollout status` lists all

Verb = Literal["pause", "resume", "abort"]


class RolloutCard(BaseModel):
    """One roll-out: its rings with their gates, and its sites."""

    rollout_id: str
    release: str
    state: str
    by: str
    paused_by: str
    stopping: str
    started_at: datetime
    can_go_back: bool
    rings: list[dict[str, Any]]
    sites: list[dict[str, Any]]


class OpenProposal(BaseModel):
    """A proposal that could still be published: who signed, and who could."""

    name: str
    releases: list[str]
    signed: list[str]
    missing: list[str]
    threshold: int
    met: bool


class Board(BaseModel):
    """Everything of the page; `problem` says what could not be read."""

    rollouts: list[RolloutCard]
    proposals: list[OpenProposal]
    problem: str = ""


class RolloutDesk:
    """Reads the journal and the proposals; asks in the name of who is signed in."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._store = layout.store()

    async def board(self) -> Board:
        """What there is now."""
        return await asyncio.to_thread(self._board)

    async def ask(self, verb: Verb, rollout_id: str, who: str) -> str:
        """Ask; why it was refused, or nothing."""
        try:
            await asyncio.to_thread(self._ask, verb, rollout_id, who)
        except PmStackError as error:
            return str(error)
        return ""

    def _board(self) -> Board:
        try:
            found, now = Rollouts(line.event for line in self._store.events()), utc_now()
            cards = [_card(rollout, found, now) for rollout in list(found)[-ROLLOUTS_MAX:]]
            return Board(rollouts=cards[::-1], proposals=self._proposals())
        except PmStackError as error:
            return Board(rollouts=[], proposals=[], problem=str(error))

    def _proposals(self) -> list[OpenProposal]:
        image = ImageRepository(self._layout.repository)
        found = []
        for folder in image.proposals():
            signatures = image.signatures(folder)
            targets = Proposal.open(folder).targets.signed.targets
            new = {path.rpartition("/")[0] for path in targets if (folder / path).exists()}
            fields = {name: getattr(signatures, name) for name in ("signed", "missing", "threshold", "met")}
            found.append(OpenProposal(name=folder.name, releases=sorted(new), **fields))
        return found

    def _ask(self, verb: Verb, rollout_id: str, who: str) -> None:
        layout = self._layout
        requests = Requests(layout.repository, self._store, layout.centre_log(), who)
        {"pause": requests.pause, "resume": requests.resume, "abort": requests.abort}[verb](rollout_id)


def rollout_router(desk: RolloutDesk) -> APIRouter:
    """`/api/rollouts`: read only; what changes something is the console's and the command line's."""
    router = APIRouter(prefix="/api", tags=["rollouts"])

    @router.get("/rollouts")
    async def rollouts() -> Board:
        """Roll-outs, newest first, and open proposals."""
        return await desk.board()

    return router


def _card(rollout: Rollout, among: Rollouts, now: datetime) -> RolloutCard:
    return RolloutCard(
        rollout_id=rollout.rollout_id,
        release=rollout.release,
        state=rollout.state,
        by=rollout.by,
        paused_by=rollout.paused,
        stopping=rollout.stopping,
        started_at=rollout.started_at,
        can_go_back=not rollout.stopping and bool(rollout.sites.keys() - among.newer(rollout)),
        rings=ring_rows(rollout, now),
        sites=site_rows(rollout, now),
    )
