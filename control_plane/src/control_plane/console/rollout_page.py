"""`/rollouts`: how each roll-out goes, ring by ring and site by site; who signed what is proposed."""

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from control_plane.api.models import FleetSnapshot
from control_plane.api.rollout_desk import Board, OpenProposal, RolloutCard, Verb
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, attribute, box, scrolled, visible

# The console's levels, by word: only what wants a person's eye has a colour.
LEVELS = {
    "fail": "alarm", "failed": "alarm", "refused": "alarm", "rolled_back": "alarm", "not_back": "alarm",
    "rolling_back": "warning", "going_back": "warning", "paused": "warning", "late": "warning",
    "held": "warning",
}  # fmt: skip
SITE_COLUMNS = ("Site", "Ring", "State", "For the gate", "In its own words", "Since (UTC)")
PROPOSAL_COLUMNS = ("Proposal", "Releases", "Approvals", "Signed", "Could sign")

Ask = Callable[[Verb, str], Awaitable[str]]


class RolloutPage:
    """The page; `show` brings it up to date. What has not changed is not drawn anew.

    Without `ask` it has no buttons.
    """

    def __init__(self, ask: Ask | None) -> None:
        self._ask, self._shown, self._sure = ask, Board(rollouts=[], proposals=[], problem="-"), set[str]()
        self._frame = Frame("Roll-outs")
        with self._frame.content:
            with box("page-head"):
                Text("Roll-outs", "page-title", "h1")
            self._answer = Text(classes="section-title").props("role=alert data-testid=rollout-answer")
            visible(self._answer, False)
            self._cards = box().props("data-testid=rollouts")
            Text("Approvals", "section-title", "h2")
            self._proposals = scrolled("proposals")

    def show(self, board: Board, snapshot: FleetSnapshot) -> None:
        """Newest roll-out first, then what waits for signatures."""
        self._frame.show(snapshot)
        if board == self._shown:
            return
        self._shown = board
        self._draw()

    def _draw(self) -> None:
        board = self._shown
        self._cards.clear()
        with self._cards:
            if board.problem or not board.rollouts:
                Text(board.problem or "No roll-out has been started yet.", "muted")
            for card in board.rollouts:
                self._card(card)
        self._proposals.clear()
        with self._proposals:
            if not board.proposals:
                Text("Nothing waits for a signature.", "muted")
            else:
                _table(PROPOSAL_COLUMNS, [_proposal_cells(found) for found in board.proposals], "proposals")

    def _card(self, card: RolloutCard) -> None:
        with box("rollout", "section").props(f'data-testid="rollout-{card.rollout_id}"'):
            with box("page-head"):
                Text(card.release, "section-title", "h2")
                _chip(card.state)
                Text(f"{card.rollout_id} · started by {card.by or 'somebody'}", "muted")
                if card.paused_by:
                    Text(f"paused by {card.paused_by}", "muted")
                if self._ask is not None:
                    self._buttons(card, self._ask)
            if card.stopping:
                Text(f"Goes back: {card.stopping}", "rollout-why")
            with box("rings"):
                for ring in card.rings:
                    _ring(ring)
            with scrolled("sites"):
                _table(SITE_COLUMNS, [_site_cells(site) for site in card.sites], "rollout-sites")

    def _buttons(self, card: RolloutCard, ask: Ask) -> None:
        if card.state == "running":
            self._button("Pause", "pause", card.rollout_id, ask)
        if card.state == "paused":
            self._button("Resume", "resume", card.rollout_id, ask)
        if card.can_go_back:
            if card.rollout_id not in self._sure:  # what cannot be undone is asked twice
                _button("Roll back", "abort", lambda: self._make_sure(card.rollout_id, True))
                return
            Text("Every site of it goes back to its release before, or to none.", "muted")
            _button("Keep it", "keep", lambda: self._make_sure(card.rollout_id, False))
            self._button("Yes, roll back", "abort", card.rollout_id, ask)

    def _make_sure(self, rollout_id: str, asks: bool) -> None:
        (self._sure.add if asks else self._sure.discard)(rollout_id)
        self._draw()

    def _button(self, text: str, verb: Verb, rollout_id: str, ask: Ask) -> None:
        async def pressed() -> None:
            self._sure.discard(rollout_id)
            refused = await ask(verb, rollout_id)
            self._answer.show(refused)
            visible(self._answer, bool(refused))

        _button(text, verb, pressed, grave=verb == "abort")


def _button(text: str, name: str, pressed: Callable[[], object], grave: bool = False) -> None:
    with ui.element("button").classes("act").props(f'type="button" data-testid="{name}"') as button:
        attribute(button, "data-sure", grave or None)
        Text(text, tag="span")
        button.on("click", pressed)


def _ring(ring: dict[str, Any]) -> None:
    with box("ring").props(f'data-testid="ring-{ring["ring"]}"'):
        with box("ring-head"):
            Text(f"{ring['name']} · {len(ring['sites'])}", tag="span")
            _chip(ring["gate"] or "open")
        Text(ring["why"], "muted")


def _site_cells(site: dict[str, Any]) -> list[tuple[str, bool]]:
    judged = (
        f"{site['standing']}: {site['why']}" if site["why"] not in ("", site["standing"]) else site["why"]
    )
    texts = (site["site"], site["ring"], site["state"], judged, site["detail"], site["at"])
    return [(str(text), index == 2) for index, text in enumerate(texts)]


def _proposal_cells(found: OpenProposal) -> list[tuple[str, bool]]:
    texts = (
        found.name,
        ", ".join(found.releases) or "keys and people",
        f"{len(found.signed)} of {found.threshold}" + (" · may be published" if found.met else ""),
        ", ".join(found.signed) or "nobody",
        ", ".join(found.missing) or "nobody",
    )
    return [(text, False) for text in texts]


def _table(columns: tuple[str, ...], rows: list[list[tuple[str, bool]]], name: str) -> None:
    with box("ledger", "table").props(f"data-testid={name}"):
        with box(tag="thead"), box(tag="tr"):
            for column in columns:
                Text(column, tag="th").props("scope=col")
        with box(tag="tbody"):
            for row in rows:
                with box(tag="tr"):
                    for text, is_state in row:
                        with box(tag="td"):
                            _chip(text) if is_state else Text(text, tag="span")


def _chip(word: str) -> None:
    with box("chip") as chip:
        attribute(chip, "data-level", LEVELS.get(word, "normal"))
        box("shape", "span").props("aria-hidden=true")
        Text(word.replace("_", " "), tag="span")
