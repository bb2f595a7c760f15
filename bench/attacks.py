"""The attack table: each attack is played on one running agent, and the table says what refused it.

*Refused* is what the site's own audit log says: an entry `model_refused` with the check's name. *Accepted* is any
release that was committed, or any prediction by another model than the one in use. Scoring must go on
meanwhile, and the site must take the next honest roll-out. Exit 1 when a row fails in any of this.
"""

import argparse
import json
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import attack_director, attack_release, attack_repository
from bench.attack_stage import Attack, Stage, staged

PREDICTIONS_MIN = 3  # committed between the attack's begin and its end
MEMORY_MIB_MAX = 192  # that an attack may cost the agent, for a moment

ATTACKS: list[Attack] = [*attack_director.ATTACKS, *attack_release.ATTACKS, *attack_repository.ATTACKS]


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
            return f"ACCEPTED {self.accepted}"
        if self.refused_by != self.attack.check:
            return f"expected {self.attack.check!r}, found {self.refused_by or 'nothing'!r} {self.reason}"
        if self.predictions < PREDICTIONS_MIN:
            return f"{self.predictions} predictions meanwhile"
        if self.mib > MEMORY_MIB_MAX:
            return f"cost the agent {self.mib:.0f} MiB"
        return "" if self.recovered else "the next honest roll-out was not taken"


def play(stage: Stage, attack: Attack) -> Result:
    """One attack from begin to end; the site runs the good release again afterwards."""
    found = Result(attack)
    stage.show_copy()
    attack.prepare(stage)
    stage.log.now()
    memory, began = stage.memory(), time.monotonic()
    stage.prompt()
    with suppress(TimeoutError):
        stage.until(lambda: stage.log.events("model_refused") or stage.accepted(), "a refusal")
        stage.until(lambda: len(stage.log.scored_by()) >= PREDICTIONS_MIN, "predictions")
    found.took_s, found.mib = time.monotonic() - began, memory.more_mib()
    if refusals := stage.log.events("model_refused"):
        entry = refusals[0]
        found.refused_by, found.reason = entry["detail"]["check"], entry["detail"]["reason"]
        found.audited_at = f"{entry['site_id']} log, entry {entry['index']}"
    found.accepted, found.predictions = stage.accepted(), len(stage.log.scored_by())
    generation = stage.overtake()
    with suppress(TimeoutError):
        stage.until(lambda: stage.runs(generation), "the honest roll-out")
        found.recovered = True
    return found


def lines(results: Sequence[Result]) -> Iterator[str]:
    """For people, and as Markdown for docs/security.md."""
    yield "| attack | the attacker holds | refused by | audited in | predictions meanwhile |"
    yield "|---|---|---|---|---:|"
    for each in results:
        refused = f"`{each.refused_by}`" if not each.problem else f"**{each.problem[:300]}**"
        yield f"| {each.attack.name} | {each.attack.holds} | {refused} | {each.audited_at} | {each.predictions} |"


def main() -> None:
    """Print the table; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="replays a run")
    parser.add_argument("--only", default="", help="attacks with this in their name")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, staged(Path(name), chosen.seed) as stage:
        results = []
        log_copy = Path("/tmp/attack-agent.log")
        log_copy.unlink(missing_ok=True)
        log_copy.symlink_to("/dev/null")
        log_copy.unlink()
        os.link(Path(name) / "agent.log", log_copy)
        for attack in ATTACKS:
            if re.search(chosen.only, attack.name):
                found = play(stage, attack)
                results.append(found)
                print(
                    f"{found.took_s:5.1f} s {found.mib:5.0f} MiB {attack.name}: {found.problem or 'refused: ' + found.reason}",
                    file=sys.stderr,
                    flush=True,
                )
    for line in lines(results):
        print(line)
    accepted = sum(bool(each.problem) for each in results)
    print(
        json.dumps(
            {
                "benchmark": "attacks",
                "seed": chosen.seed,
                "refused": len(results) - accepted,
                "accepted": accepted,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )
    sys.exit(1 if accepted else 0)


if __name__ == "__main__":
    main()
