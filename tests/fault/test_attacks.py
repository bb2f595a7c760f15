"""The attack table's quick part, on one running agent; and that the table can tell when something is taken.

`make attacks` plays all of it. ATTACK_SEED replays a run.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from bench.attack_stage import HONEST, Attack, Stage, staged
from bench.attacks import ATTACKS, play

SEED = int(os.environ.get("ATTACK_SEED", secrets.randbelow(2**31)))
# Of each kind the cheapest: what needs a process for each model, or seconds of waiting, is `make attacks`'.
QUICK = (
    "a bit of the model changed",
    "model longer than signed",
    "redirect to another host",
    "image metadata rolled back",
    "rolled back, and the client's cache wiped",
    "old targets with a new snapshot",
    "expired timestamp",
    "`signed` twice in one JSON object",
    "1 of 3 approvals",
    "signed by keys that are no approvers'",
    "root with the thief's approvers",
    "root that has one key under two names",
    "another site's director",
    "a command replayed",
    "a revoked approver's key",
    "stolen site certificate after revocation",
    "a release that nobody approved",
    "an approved name with other bytes",
    "stale generation",
    "two active releases for one type",
    "target named '../../data/models.db'",
    "NaN as a threshold",
    "manifest with a key twice",
    "needs an agent of no version",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), SEED) as stage:
        yield stage


def test_every_attack_is_refused_by_its_check_on_the_record_while_scoring_goes_on(stage):
    """Nothing is taken; the named check says so in an audit log; predictions go on; the site recovers."""
    by_name = {attack.name: attack for attack in ATTACKS}
    found = {name: play(stage, by_name[name]).problem for name in QUICK}
    assert {name: problem for name, problem in found.items() if problem} == {}, SEED


def test_names_of_attacks_are_unique():
    """A row of the table is known by its name."""
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


def test_a_row_fails_unless_its_own_check_refuses_it(stage):
    """Sound metadata, of which no check says a word; and an attack refused for another reason than named."""

    def nothing(stage: Stage) -> None:
        stage.assign_good()
        stage.told = (HONEST, next(stage.generations))

    sound = Attack("sound", "nothing", "image hash", nothing)
    assert "found 'nothing'" in play(stage, sound, deadline_s=1.0).problem
    stale = next(attack for attack in ATTACKS if attack.name == "stale generation")
    other = Attack("other", stale.holds, "image hash", stale.prepare)
    assert "expected 'image hash', found 'stale generation'" in play(stage, other).problem


def test_a_release_that_is_taken_is_accepted(stage):
    """With two approvers', the online and the director key a thief runs what passes every check of the
    machine: the table says so."""

    def everything(stage: Stage) -> None:
        stage.assign(stage.approve_release(*stage.next_release()), rollout_id="theft")
        stage.told = ("theft", next(stage.generations))

    found = play(stage, Attack("all keys", "all keys", "none", everything))
    assert found.problem.startswith("ACCEPTED: ")
