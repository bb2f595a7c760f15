"""The attack table: each attack is played on one running agent or on the centre; what refused it, by name.

*Refused* is what the audit log of the site (an entry `model_refused` with the check's name) or of the centre
says. *Accepted* is a release that was committed, a prediction by another model than the one in use, or what
the centre did or let in. Predictions must go on meanwhile, an attack may not cost the agent much memory, and
the site must take the next honest roll-out. A row that fails in any of this counts as accepted: exit 1.
"""

import argparse
import json
import logging
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from bench import attack_centre, attack_director, attack_release, attack_repository
from bench.attack_stage import AWAY, DEADLINE_S, Attack, Stage, staged

PREDICTIONS_MIN = 3  # committed between an attack's begin and its end
MEMORY_MIB_MAX = 192  # that an attack may cost the agent; a manifest of 8 MiB takes some 80 to parse

ATTACKS: list[Attack] = [
    *attack_repository.ATTACKS,
    *attack_centre.ATTACKS,
    *attack_director.ATTACKS,
    *attack_release.ATTACKS,
]


@dataclass
class Result:
    """What came of an attack."""

    attack: Attack
    refused_by: str = ""
    reason: str = ""
    audited_at: str = ""
    accepted: str = ""
    predictions: int = 0
    mib: float = 0.0
    took_s: float = 0.0
    recovered: bool = False

    @property
    def problem(self) -> str:
        """What is wrong with this row, empty when it holds."""
        if self.accepted:
            return f"ACCEPTED: {self.accepted}"
        if self.refused_by != self.attack.check:
            return f"expected {self.attack.check!r}, found {self.refused_by or 'nothing'!r} {self.reason}"
        if self.predictions < PREDICTIONS_MIN:
            return f"{self.predictions} predictions meanwhile"
        if self.mib > MEMORY_MIB_MAX:
            return f"cost the agent {self.mib:.0f} MiB"
        return "" if self.recovered else "the next honest roll-out was not taken"

    @property
    def line(self) -> str:
        """A row of the table, as Markdown."""
        refused = f"**{self.problem[:300]}**" if self.problem else f"`{self.refused_by}`"
        parts = (self.attack.name, self.attack.holds, refused, self.audited_at, str(self.predictions))
        return f"| {' | '.join(part.replace('|', '/') for part in parts)} |"


def play(stage: Stage, attack: Attack, deadline_s: float = DEADLINE_S) -> Result:
    """One attack from begin to end; the site runs the good release again afterwards."""
    found = Result(attack)
    stage.show_copy()
    if not attack.at_centre:
        attack.prepare(stage)
    stage.log.now()
    memory, began = stage.memory(), time.monotonic()
    if attack.at_centre:
        attack.prepare(stage)
    else:
        stage.prompt()
    with suppress(TimeoutError):
        stage.until(lambda: _refusal(stage, attack) or stage.accepted(), "a refusal", deadline_s)
        stage.until(lambda: len(stage.log.scored_by()) >= PREDICTIONS_MIN, "predictions")
    found.took_s, found.mib = time.monotonic() - began, memory.more_mib()
    found.refused_by, found.reason, found.audited_at = _refusal(stage, attack) or ("", "", "")
    found.predictions = len(stage.log.scored_by())
    generation = stage.overtake()
    with suppress(TimeoutError):
        stage.until(lambda: stage.runs(generation), "the honest roll-out")
        found.recovered = True
    found.accepted = stage.accepted()
    return found


def _refusal(stage: Stage, attack: Attack) -> tuple[str, str, str] | None:
    """Check, reason, and where that is written."""
    if attack.check == AWAY:
        reason = stage.away()
        return (AWAY, reason, "service log") if reason else None
    if attack.at_centre:
        for entry in stage.centre.layout.centre_log().entries(stage.centre_entries):
            if entry.act.value == attack.check:
                why = str(entry.detail.get("problem") or entry.detail.get("reason"))
                return attack.check, why, f"centre, entry {entry.index}"
        return None
    for refused in stage.log.events("model_refused"):
        detail = refused["detail"]
        return detail["check"], detail["reason"], f"{refused['site_id']}, entry {refused['index']}"
    return None


def lines(results: Sequence[Result]) -> Iterator[str]:
    """For people, and as Markdown for docs/security.md."""
    yield "| attack | the attacker holds | refused by | audited in the log of | predictions meanwhile |"
    yield "|---|---|---|---|---:|"
    for each in results:
        yield each.line


def played(stage: Stage, chosen: str = "") -> Iterator[Result]:
    """Every attack with this in its name, one after the other."""
    for attack in ATTACKS:
        if re.search(chosen, attack.name):
            yield play(stage, attack)


def main() -> None:
    """Print the table; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="replays a run")
    parser.add_argument("--only", default="", help="attacks with this regular expression in their name")
    parser.add_argument("--reasons", action="store_true", help="each refusal's words, as they come")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the doors'
    began, results = time.monotonic(), []
    with tempfile.TemporaryDirectory() as name, staged(Path(name), chosen.seed) as stage:
        for found in played(stage, chosen.only):
            results.append(found)
            if chosen.reasons or found.problem:
                said = found.problem or found.reason
                print(f"{found.took_s:.1f} s, {found.mib:.0f} MiB, {found.attack.name}: {said}", flush=True)
    for line in lines(results):
        print(line)
    accepted, seconds = sum(bool(each.problem) for each in results), round(time.monotonic() - began, 1)
    counts = {"refused": len(results) - accepted, "accepted": accepted, "seconds": seconds}
    print(json.dumps({"benchmark": "attacks", "seed": chosen.seed, **counts}))
    sys.exit(1 if accepted else 0)


if __name__ == "__main__":
    main()
