"""Many replays, and what they came to."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from control_plane.audit.recorded import find
from control_plane.audit.replay import Answer, Releases, Replayer, ReplayResult
from control_plane.layout import Layout
from shared.errors import Rejected, Untrusted

PROBLEMS_MAX = 20  # shown; thousands more say nothing new
SAY_EVERY = 50


@dataclass
class Replays:
    """`problems` are predictions that could not be computed again, each with the reason."""

    results: list[ReplayResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """At least one was asked for, and every one is bit-exact or within tolerance."""
        return bool(self.results) and not self.problems and all(r.within_tolerance for r in self.results)

    def counts(self) -> dict[str, int]:
        """How many by answer, and `not computed`."""
        found = Counter(result.answer for result in self.results)
        return {**{answer.value: found[answer] for answer in Answer}, "not computed": len(self.problems)}

    def summary(self) -> dict[str, Any]:
        """For a script."""
        return {
            "replayed": len(self.results),
            **self.counts(),
            "different_ids": [r.prediction_id for r in self.results if r.answer is Answer.DIFFERENT],
            "problems": self.problems[:PROBLEMS_MAX],
            "held": self.held,
        }

    def lines(self) -> list[str]:
        """For a person: each that is not bit-exact, then the counts."""
        if len(self.results) == 1 and not self.problems:
            return [_line(self.results[0])]
        odd = [_line(result) for result in self.results if not result.bit_exact] + self.problems
        counts = ", ".join(f"{number} {answer}" for answer, number in self.counts().items())
        return [*odd[:PROBLEMS_MAX], f"{len(self.results)} replayed: {counts}"]


def replay_many(
    layout: Layout, ids: Sequence[str], releases: Releases, say: Callable[[str], None] = lambda _: None
) -> Replays:
    """Replay each of the predictions; one that is on no record is a problem."""
    replayer, found, missing = Replayer(releases), Replays(), set(ids)
    for number, recorded in enumerate(find(layout, ids), 1):
        missing.discard(recorded.prediction_id)
        try:
            found.results.append(replayer.replay(recorded))
        except (Rejected, Untrusted) as error:
            found.problems.append(str(error))
        if number % SAY_EVERY == 0:
            say(f"{number} of {len(ids)}")
    found.problems += [f"no audit entry holds prediction {each}" for each in sorted(missing)]
    return found


def _line(result: ReplayResult) -> str:
    line = f"{result.prediction_id} by {result.model}: {result.answer}"
    if not result.bit_exact:
        line += f": {result.differences}; recorded on {result.recorded_runtime}, now {result.runtime}"
    return line
