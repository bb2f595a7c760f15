"""What a ring's sites say of a release: pass, fail, or inconclusive, which holds."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from control_plane.release.journal import Health, Kind
from control_plane.release.rollout import FAILURES, Rollout, SiteState, Verdict
from control_plane.release.rollout_plan import CANARY, Limits

NAMED_MAX = 5  # sites in a sentence; the table has them all


class Standing(StrEnum):
    """Where one site stands for the gate of its ring."""

    WELL = "well"
    FAILED = "failed"
    PENDING = "pending"
    LATE = "late"  # could be left behind, where the plan allows it


class Judged(NamedTuple):
    """One site's standing and why, without figures that change by the second."""

    standing: Standing
    why: str


def judge(rollout: Rollout, site: SiteState, now: datetime) -> Judged:
    """How one site stands."""
    plan = rollout.plan
    if site.answer in FAILURES:
        return Judged(Standing.FAILED, f"{site.answer.value.replace('_', ' ')}: {site.detail}")
    over = next(_over(site.health, plan.gate), None) if site.health else None
    if over:
        return Judged(Standing.FAILED, over)
    if site.commanded_at is None:
        open_now = plan.allows(site.site, now)
        return Judged(
            Standing.PENDING, "not commanded yet" if open_now else "waits for its maintenance window"
        )
    if site.answer is Kind.HELD:
        return Judged(Standing.LATE, "held by its people")
    missing = _missing(site, plan.gate)
    if missing:
        late = now - site.commanded_at > timedelta(seconds=plan.answer_within_s)
        return Judged(Standing.LATE if late else Standing.PENDING, missing)
    soaked = site.answered_at is not None and now - site.answered_at >= timedelta(seconds=plan.soak_s)
    return Judged(Standing.WELL, "well") if soaked else Judged(Standing.PENDING, "soaks")


def failures(rollout: Rollout, now: datetime) -> list[tuple[SiteState, str]]:
    """Every site, of whatever ring, that failed the release, and why."""
    judged = ((site, judge(rollout, site, now)) for site in rollout.sites.values() if not site.back)
    return [(site, found.why) for site, found in judged if found.standing is Standing.FAILED]


def too_many(rollout: Rollout, now: datetime) -> str:
    """Why the error budget is spent; empty while it is not. No canary may fail."""
    failed = failures(rollout, now)
    canaries = [f"{site.site} ({why})" for site, why in failed if site.ring == CANARY]
    if canaries:
        return f"canary failed: {_some(canaries)}"
    if len(failed) > rollout.plan.failed_sites_max:
        named = _some([f"{site.site} ({why})" for site, why in failed])
        return f"{len(failed)} sites failed, at most {rollout.plan.failed_sites_max} may: {named}"
    return ""


def gate(rollout: Rollout, ring: int, now: datetime) -> tuple[Verdict, str]:
    """The verdict on a ring, and why. No word, too little data and too short a time all hold."""
    spent = too_many(rollout, now)
    if spent:
        return Verdict.FAIL, spent
    judged = [judge(rollout, site, now) for site in rollout.members(ring)]
    if not judged:
        return Verdict.PASS, "no site is in this ring"
    pending = {found.why for found in judged if found.standing is Standing.PENDING}
    late = [found.why for found in judged if found.standing is Standing.LATE]
    if len(late) > rollout.plan.left_behind_max:
        pending |= {f"late: {why}" for why in late}
    if pending:
        return Verdict.INCONCLUSIVE, "; ".join(sorted(pending))
    well = sum(found.standing is Standing.WELL for found in judged)
    if not well:
        return Verdict.INCONCLUSIVE, "no site of this ring runs it"
    return Verdict.PASS, f"{well} of {len(judged)} sites well"


def _missing(site: SiteState, limits: Limits) -> str:
    """What the site has not said yet; empty when it has said everything."""
    if site.answer is None:
        return "no answer yet"
    if site.answer is Kind.TRYING:
        return "tries it"
    if limits.windows_min == 0:
        return ""
    if site.health is None or site.health.state is not Kind.COMMITTED:
        return "no health report since it committed"
    return "too few windows" if site.health.windows < limits.windows_min else ""


def _over(health: Health, limits: Limits) -> Iterator[str]:
    """The limits that a report is over, once it covers enough windows to tell."""
    if health.windows < limits.windows_min:
        return
    if health.latency_p99_ms > limits.latency_p99_ms_max:
        yield f"p99 latency {health.latency_p99_ms:.3g} ms, at most {limits.latency_p99_ms_max:g} ms"
    if health.not_finite_fraction > limits.not_finite_fraction_max:
        yield (
            f"{health.not_finite_fraction:.3g} of answers not finite, "
            f"at most {limits.not_finite_fraction_max:g}"
        )
    if health.out_of_distribution_fraction > limits.out_of_distribution_fraction_max:
        yield (
            f"{health.out_of_distribution_fraction:.3g} of windows out of distribution, "
            f"at most {limits.out_of_distribution_fraction_max:g}"
        )
    if health.shift is not None and health.shift > limits.shift_max:
        yield f"RUL shifted by {health.shift:.3g} of the horizon, at most {limits.shift_max:g}"


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
