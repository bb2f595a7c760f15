"""What one look at the repositories led to."""

from typing import NamedTuple

from edge_agent.update.answer import Answer, State


class Outcome(NamedTuple):
    """What one look at the repositories led to, by roll-out id.

    `committed` holds what runs now (`name/version`), `refused` the reason, `waiting` what is tried or held.
    `problem` is why nothing could be believed, `away` why nothing could be fetched.
    """

    committed: dict[str, str]
    refused: dict[str, str]
    waiting: dict[str, str]
    problem: str | None = None
    away: str | None = None

    def answer(self, rollout_id: str) -> tuple[bool, str]:
        """Whether the roll-out's release runs now, and that or why not in words."""
        if rollout_id in self.committed:
            return True, self.committed[rollout_id]
        reason = self.problem or self.refused.get(rollout_id) or self.waiting.get(rollout_id)
        return False, reason or "the director's metadata does not name this roll-out (any more)"

    @property
    def said(self) -> dict[str, str]:
        """What became of each release, by roll-out id, for people."""
        parts = (("runs", self.committed), ("refused", self.refused), ("waits", self.waiting))
        return {rollout: f"{word}: {text}" for word, part in parts for rollout, text in part.items()}

    def add(self, answer: Answer) -> None:
        """One release's part."""
        if answer.state is State.COMMITTED:
            self.committed[answer.rollout_id] = answer.detail
        elif answer.state.final:
            self.refused[answer.rollout_id] = answer.detail
        else:
            self.waiting[answer.rollout_id] = answer.detail
