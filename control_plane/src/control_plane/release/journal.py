"""The journal of roll-outs: one line for each thing that was decided, commanded or answered.

Nothing is kept about a roll-out but these lines; where it stands is worked out from them.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from math import isnan
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, field_validator

from shared.errors import Rejected
from shared.wire import fleet_pb2

DETAIL_CHARS_MAX = 2000  # a site's own words; a refusal is a sentence


class Kind(StrEnum):
    """What a line says. The last six are a site's own words."""

    STARTED = "started"
    JOINED = "joined"  # a site takes part from now on
    RING = "ring"  # the sites of the next ring may be commanded
    COMMANDED = "commanded"  # the site's director metadata names the release
    GATE = "gate"  # pass, fail or inconclusive, and why
    PAUSED = "paused"
    RESUMED = "resumed"
    PROMOTED = "promoted"  # a person let a ring pass that was inconclusive
    ABORTED = "aborted"
    DONE = "done"
    TRYING = "trying"
    COMMITTED = "committed"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    HELD = "held"
    HEALTH = "health"


FINAL = frozenset({Kind.COMMITTED, Kind.REFUSED, Kind.ROLLED_BACK})
ANSWERS = FINAL | {Kind.TRYING, Kind.HELD}


class Event(NamedTuple):
    """One line of the journal; `site` is empty for the roll-out itself. `at` is aware, UTC."""

    rollout_id: str
    generation: int
    site: str
    kind: Kind
    detail: str
    at: datetime


class Numbered(NamedTuple):
    """An event with its place in the journal. Numbers rise; some are missing."""

    number: int
    event: Event


class Health(BaseModel):
    """What a site reports of a release: the detail of a HEALTH line.

    `windows` were scored since the trial or the commit began, and the other figures are over those.
    `shift` is the median difference to the model before it as a fraction of the horizon.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Kind
    windows: int
    latency_p99_ms: FiniteFloat
    not_finite_fraction: FiniteFloat
    out_of_distribution_fraction: FiniteFloat
    shift: float | None = None  # None where there is no model before it

    @field_validator("shift")
    @classmethod
    def _without(cls, shift: float | None) -> float | None:
        return None if shift is None or isnan(shift) else shift


def answer_event(site: str, answer: fleet_pb2.Acknowledgement, at: datetime) -> Event:
    """The line of a site's acknowledgement; Rejected when it names no state."""
    kind = _kind(answer.state)
    return Event(answer.rollout_id, answer.generation, site, kind, answer.detail[:DETAIL_CHARS_MAX], at)


def health_event(site: str, report: fleet_pb2.HealthReport, at: datetime) -> Event:
    """The line of a site's health report; Rejected when it names no state, or a figure is no number."""
    fields: dict[str, Any] = {name: getattr(report, name) for name in Health.model_fields if name != "state"}
    try:
        health = Health(state=_kind(report.state), **fields)
    except ValidationError as error:
        raise Rejected(f"{site}: health report: {error}") from error
    return Event(report.rollout_id, report.generation, site, Kind.HEALTH, health.model_dump_json(), at)


def outstanding(events: Iterable[Event], site: str) -> list[Event]:
    """The commands that a site has not answered for good, oldest first: what it is told when it calls.

    Of each component type only the newest command counts: a site that was away gets only what still
    applies.
    """
    types: dict[str, str] = {}
    newest: dict[str, Event] = {}
    answered: set[tuple[str, int]] = set()
    for event in events:
        if event.kind is Kind.STARTED:
            types[event.rollout_id] = component_type(event)
        elif event.site == site and event.kind is Kind.COMMANDED:
            kind = types.get(event.rollout_id, event.rollout_id)
            newest.pop(kind, None)
            newest[kind] = event
        elif event.site == site and event.kind in FINAL:
            answered.add((event.rollout_id, event.generation))
    return [e for e in newest.values() if (e.rollout_id, e.generation) not in answered]


def component_type(started: Event) -> str:
    """What the roll-out is about; a journal of the first release named `name/version` alone."""
    if started.detail.startswith("{"):
        return str(json.loads(started.detail)["component_type"])
    return started.detail.partition("/")[0]


def _kind(state: fleet_pb2.Acknowledgement.State) -> Kind:
    try:
        return Kind(fleet_pb2.Acknowledgement.State.Name(state).lower())
    except ValueError as error:
        raise Rejected(f"state {state} is none that a site may be in") from error
