"""Says what became of a release: remembered, on the record, told to the centre; each change once."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from edge_agent.update.answer import Answer, State
from edge_agent.update.slots import ModelSlots
from shared.errors import Untrusted
from shared.schemas import AuditEvent

log = structlog.get_logger()

REASON_CHARACTERS_MAX = 1_000  # a reason quotes what an attacker wrote; a log entry has 64 KiB at most

Detail = dict[str, str | int | float | bool]
Record = Callable[[AuditEvent, Detail], Awaitable[None]]
Tell = Callable[[Answer], None]

_EVENTS = {
    State.TRYING: AuditEvent.MODEL_TRYING,
    State.COMMITTED: AuditEvent.MODEL_COMMITTED,
    State.REFUSED: AuditEvent.MODEL_REFUSED,
    State.ROLLED_BACK: AuditEvent.MODEL_ROLLED_BACK,
    State.HELD: AuditEvent.MODEL_HELD,
}


class Teller:
    """The newest answer for each component type.

    An answer that goes with a change of the slots is noted in the same transaction; one that an agent did not
    put on the record before it ended is put there when it begins again.
    """

    def __init__(self, slots: ModelSlots, record: Record, tell: Tell | None) -> None:
        self._slots, self._record, self._tell = slots, record, tell
        self._answers: dict[str, Answer] = {}
        self._unrecorded: list[Answer] = []
        self._standing: set[str] = set()  # refusals of the look before
        self._refusals: set[str] = set()  # and of this one

    @property
    def answers(self) -> list[Answer]:
        """Where every component type stands."""
        return list(self._answers.values())

    def known(self, component_type: str) -> Answer | None:
        """The newest answer for a component type."""
        return self._answers.get(component_type)

    async def load(self) -> None:
        """Take up what was answered before."""
        answers, self._unrecorded = await asyncio.to_thread(self._slots.answers)
        self._answers = {answer.component_type: answer for answer in answers}

    async def catch_up(self) -> None:
        """Put on the record what an agent that ended did not."""
        for answer in self._unrecorded:
            if answer == self._answers[answer.component_type]:
                await self._put_on_record(answer)
        self._unrecorded = []

    async def note(self, answer: Answer) -> Answer:
        """An answer that changed no slot; nothing happens where it is the one that was given."""
        if answer != self.known(answer.component_type):
            await asyncio.to_thread(self._slots.note, answer)
            await self.say(answer)
        return answer

    async def say(self, answer: Answer) -> Answer:
        """An answer that was noted with the change that it goes with."""
        self._answers[answer.component_type] = answer
        await self._put_on_record(answer)
        if self._tell is not None:
            self._tell(answer)
        return answer

    async def _put_on_record(self, answer: Answer) -> None:
        detail: Detail = {
            "component_type": answer.component_type,
            "sha256": answer.sha256,
            "rollout_id": answer.rollout_id,
            "generation": answer.generation,
        }
        if answer.state in (State.TRYING, State.COMMITTED):
            detail["release"] = answer.detail
        elif answer.state is State.HELD:
            detail["until"] = answer.detail
        else:
            detail |= {"check": check_of(answer.detail), "reason": answer.detail[:REASON_CHARACTERS_MAX]}
        say = log.error if answer.state.final else log.info
        say(f"model {answer.state.lower().replace('_', ' ')}", **detail)
        await self._record(_EVENTS[answer.state], detail)
        await asyncio.to_thread(self._slots.audited, answer)

    def looks_again(self) -> None:
        """The repositories were fetched anew: what is refused now and was not lately is news."""
        self._standing, self._refusals = self._refusals, set()

    async def refused(self, error: Untrusted, subject: str) -> None:
        """A refusal that is no release's answer, once for as long as every look finds it."""
        known, text = self._standing | self._refusals, str(error)[:REASON_CHARACTERS_MAX]
        self._refusals.add(text)
        if text in known:
            return
        log.error("refused; what runs stays", subject=subject, check=error.check, reason=text)
        detail: Detail = {"release": subject, "check": error.check, "reason": text}
        await self._record(AuditEvent.MODEL_REFUSED, detail)


def check_of(reason: str) -> str:
    """The check that a reason begins with: `health: shift: 0.4 of...` is of `health: shift`."""
    parts = reason.split(": ")
    return ": ".join(parts[: 2 if parts[0] == "health" else 1])
