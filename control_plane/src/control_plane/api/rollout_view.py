"""Roll-outs as rows, for the console, the API and `rollout status`."""

from datetime import datetime
from typing import Any

from control_plane.release.rollout import Rollout
from control_plane.release.rollout_gate import gate, judge


def ring_rows(rollout: Rollout, now: datetime) -> list[dict[str, Any]]:
    """Each ring that has sites, with its gate's verdict: as decided, or as of now for the open one."""
    rows = []
    for ring, name in enumerate(rollout.plan.rings):
        verdict, why = rollout.gates.get(ring, ("", ""))
        if ring > rollout.ring:
            verdict, why = "waiting", "not open yet"
        if ring == rollout.ring and rollout.state in ("running", "paused"):
            verdict, why = gate(rollout, ring, now)
        sites = [site.site for site in rollout.members(ring)]
        if sites:
            rows.append({"ring": ring, "name": name, "sites": sites, "gate": str(verdict), "why": why})
    return rows


def site_rows(rollout: Rollout, now: datetime) -> list[dict[str, Any]]:
    """Each site: where it is, how the gate sees it, and its own words."""
    rows = []
    for site in sorted(rollout.sites.values(), key=lambda site: (site.ring, site.site)):
        since = site.answered_at or site.commanded_at or rollout.started_at
        judged = judge(rollout, site, now)
        rows.append(
            {
                "rollout_id": rollout.rollout_id,
                "release": rollout.release,
                "rollout_state": rollout.state,
                "site": site.site,
                "ring": rollout.plan.rings[site.ring] if rollout.plan.rings else "",
                "state": "untouched" if rollout.stopping and not site.generation else site.where,
                "generation": site.generation,
                "standing": judged.standing.value,
                "why": "" if site.back or rollout.end else judged.why,
                "detail": (site.back and site.failure) or site.detail or site.release,
                "at": f"{since:%Y-%m-%d %H:%M:%S}",
            }
        )
    return rows
