"""How a roll-out goes: its rings, soak time, gates and windows, from a small YAML file.

canary: [TX01]              # first; without it, the site that comes first by its hash
rings_percent: [10, 50]     # of the other sites, by a stable hash of the site's id; then all
soak_s: 3600
failed_sites_max: 1         # error budget; of the canaries none may fail
maintenance_utc: {ID01: ["02:00-05:00"]}
gate: {windows_min: 20, shift_max: 0.25}
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime, time
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import ConfigError

CANARY = 0  # the number of the first ring
SOAK_S = 3600.0  # an hour of a plant's cycles shows what golden windows cannot: today's data
ANSWER_WITHIN_S = 900.0  # a site polls the repositories each minute; after a quarter of an hour it is away
WINDOWS_MIN = 20  # below this a fraction of windows is worth nothing: one in 20 is the 5 % it can tell
LATENCY_P99_MS_MAX = 250.0  # 40 components still fit into a poll of 10 s, as the agent has it
NOT_FINITE_FRACTION_MAX = 0.01  # of all windows; the agent itself refuses what is above
OUT_OF_DISTRIBUTION_FRACTION_MAX = (
    0.2  # such windows have no answer: every fifth is a model for another plant
)
SHIFT_MAX = 0.25  # of the horizon: a quarter of a life more or less than the model before it said
FAILED_SITES_MAX = 1  # one site may have a reason of its own; two are the model's
LEFT_BEHIND_MAX = 0  # nobody is left behind unless the plan says so

Percent = Annotated[int, Field(gt=0, lt=100)]
SiteName = Annotated[str, Field(min_length=1)]


class Limits(BaseModel):
    """When a site's health report fails. Fractions are of the windows scored since it began."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    windows_min: int = Field(WINDOWS_MIN, ge=0)
    latency_p99_ms_max: float = Field(LATENCY_P99_MS_MAX, gt=0)
    not_finite_fraction_max: float = Field(NOT_FINITE_FRACTION_MAX, ge=0, le=1)
    out_of_distribution_fraction_max: float = Field(OUT_OF_DISTRIBUTION_FRACTION_MAX, ge=0, le=1)
    shift_max: float = Field(SHIFT_MAX, ge=0)


def _span(text: str) -> str:
    """A daily span `HH:MM-HH:MM`; over midnight when it ends before it begins."""
    start, dash, end = text.partition("-")
    if not dash or time.fromisoformat(start) == time.fromisoformat(end):
        raise ValueError(f"found {text!r}; expected HH:MM-HH:MM in UTC, for example 02:00-05:00")
    return text


class Plan(BaseModel):
    """The parameters of one roll-out; the defaults suit a fleet that nobody watches by the minute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    canary: tuple[SiteName, ...] = ()
    rings_percent: tuple[Percent, ...] = (10, 50)
    soak_s: float = Field(SOAK_S, ge=0)
    answer_within_s: float = Field(ANSWER_WITHIN_S, gt=0)
    failed_sites_max: int = Field(FAILED_SITES_MAX, ge=0)
    left_behind_max: int = Field(LEFT_BEHIND_MAX, ge=0)
    maintenance_utc: dict[SiteName, tuple[Annotated[str, AfterValidator(_span)], ...]] = {}
    gate: Limits = Limits()

    @model_validator(mode="after")
    def _rising(self) -> "Plan":
        if list(self.rings_percent) != sorted(set(self.rings_percent)):
            raise ValueError(f"rings_percent: found {list(self.rings_percent)}; each must be above the last")
        return self

    @property
    def rings(self) -> list[str]:
        """What each ring is called: the canaries, a share of the fleet, all of it."""
        return ["canary", *(f"{percent} %" for percent in self.rings_percent), "fleet"]

    def ring_of(self, site: str) -> int:
        """The ring of a site, for as long as the plan is the same, whoever else takes part."""
        if site in self.canary:
            return CANARY
        place = _place(site)
        below = (n for n, percent in enumerate(self.rings_percent, CANARY + 1) if place < percent)
        return next(below, len(self.rings_percent) + 1)

    def allows(self, site: str, now: datetime) -> bool:
        """Whether the site may be changed now; a site without spans always may."""
        spans = self.maintenance_utc.get(site)
        return spans is None or any(_within(span, now.time()) for span in spans)

    def with_canary(self, sites: Iterable[str]) -> "Plan":
        """The same plan; where it names no canary, with the first site by hash."""
        if self.canary:
            return self
        return self.model_copy(update={"canary": (min(sites, key=lambda site: (_place(site), site)),)})


def load_plan(path: Path) -> Plan:
    """The plan in a YAML file; ConfigError lists everything that is wrong with it."""
    try:
        document = yaml.safe_load(path.read_text())
        return Plan.model_validate({} if document is None else document)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'plan'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(str(path), problems) from error


def _place(site: str) -> float:
    """Where a site stands among all, 0 to below 100: the same in every roll-out and on every machine."""
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:8]) / 2**64 * 100


def _within(span: str, at: time) -> bool:
    start, end = (time.fromisoformat(text) for text in span.split("-"))
    return start <= at < end if start < end else at >= start or at < end
