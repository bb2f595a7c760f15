"""`make demo-rollback`: a model that drifts is approved, rolled out, stopped at the canary and taken back.

Real processes: a broker, a centre, and for each site a plant and an agent. Nobody touches anything between
`rollout start` and the end. Exit 0 only when every claim held.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from control_plane.release.director import Director
from control_plane.release.image import ImageRepository
from control_plane.release.journal import Event, Kind
from control_plane.release.keys import generate, load_public, load_signer
from control_plane.release.rollout import End, Rollout, states
from control_plane.release.rollout_plan import Limits, Plan
from control_plane.release.rollout_requests import Requests
from demo.drifting_model import DROP, FLOW, FLOW_MIN, HORIZON, KIND, write_release
from demo.processes import Processes
from demo.settings import Demo, free_ports
from demo.story import APPROVERS, PROPOSER, Story, passphrase_environment
from shared.command_line import PIPE_COLUMNS
from shared.errors import PmStackError
from shared.listen import free_port

ROOT = Path(".demo/rollback")
SITES = ("TX01", "ID01", "WY01")
CANARY = SITES[0]
POLL_PERIOD_S = 0.2  # a cycle; a trial takes 60 of them
FOULING = 0.002  # of performance a cycle
DRIFT_AFTER_CYCLES = 50  # after it was made: the trial has begun by then
DRIFT_PER_CYCLE = 0.02 * HORIZON  # of remaining life, from then on
LEDGER_ROWS = 100  # how far back the fouling is looked at
WARM_S = 30 * POLL_PERIOD_S  # until a window is full, and there is something to compare with
DEADLINE_S = 240.0  # for everything between the start and the end of the roll-out
STEP_DEADLINE_S = 90.0
FIRST_PLAN = Plan(canary=(CANARY,), rings_percent=(), soak_s=0, gate=Limits(windows_min=0))
PLAN = Plan(canary=(CANARY,), rings_percent=(50,), soak_s=60)
PEOPLE_DID = {Kind.PAUSED, Kind.RESUMED, Kind.PROMOTED, Kind.ABORTED}


class Claim(NamedTuple):
    """What must have held, and whether it did."""

    text: str
    held: bool


class RollbackStory(Story):
    """The demo's story with hand-written models and keys made in this process: it has to be short."""

    def __init__(self, demo: Demo, processes: Processes, console: Console) -> None:
        super().__init__(demo, processes, console, demo.config)
        self.sites = list(SITES)
        self._image = ImageRepository(demo.centre.repository)
        self._seen = 0  # of the journal
        self._rollout_began: datetime | None = None
        self._word = processes.environment["PM_KEY_PASSPHRASE"]

    def prepare(self) -> None:
        """Up to a fleet that scores with a sound model."""
        self._write_config()
        with self._step("start the broker (in memory: for evaluation only)"):
            self._processes.start("broker", "control-plane", "broker", "--listen", self._demo.at("broker"))
        with self._step(f"key ceremony: 2 of {', '.join(APPROVERS)} must approve; one director a site"):
            self._hold_ceremony()
        self._publish(1)
        with self._step("start the centre"):
            self._wait_for("broker")
            self._start_centre()
        with self._step(f"enrol {len(SITES)} sites"), ThreadPoolExecutor(len(SITES)) as pool:
            list(pool.map(self._enrol, SITES))
        with self._step(f"start {len(SITES)} plants and {len(SITES)} agents"):
            self._start_sites()
        first = self._start_rollout(1, FIRST_PLAN)
        with self._step(f"{KIND}/1 reaches every site"):
            self._wait_until("every site has committed", lambda: self.of(first).done, STEP_DEADLINE_S)
            time.sleep(WARM_S)

    def roll_the_drifting_one_out(self) -> str:
        """Approved by two people, published, started; the roll-out's id."""
        now, per_cycle = self._resistance()
        self._publish(2, now + DRIFT_AFTER_CYCLES * per_cycle, DRIFT_PER_CYCLE / per_cycle)
        return self._start_rollout(2, PLAN)

    def watch(self, rollout_id: str) -> None:
        """Until it is at its end, and the canary has said that it is back; tells each line of the journal."""
        with self._step("nobody touches anything"):
            end = time.monotonic() + DEADLINE_S
            while not self._is_back(rollout_id):
                if time.monotonic() > end:
                    raise TimeoutError(f"not at its end within {DEADLINE_S:.0f} s: {rollout_id}")
                self._tell_news(rollout_id)
                time.sleep(0.3)
            self._tell_news(rollout_id)

    def _tell_news(self, rollout_id: str) -> None:
        for line in self._demo.centre.store().events(self._seen):
            self._seen = line.number
            if line.event.rollout_id == rollout_id:
                self._rollout_began = self._rollout_began or line.event.at
                self._tell(line.event, self._rollout_began)

    def _is_back(self, rollout_id: str) -> bool:
        rollout = self.of(rollout_id)
        return bool(rollout.end) and rollout.sites[CANARY].where in ("back", "committed")

    def of(self, rollout_id: str) -> Rollout:
        """Where a roll-out stands."""
        return states(self.journal())[rollout_id]

    def journal(self) -> list[Event]:
        """Every line."""
        return [line.event for line in self._demo.centre.store().events()]

    def _tell(self, line: Event, began: datetime) -> None:
        if line.kind not in (Kind.HEALTH, Kind.JOINED, Kind.STARTED):
            after_s = (line.at - began).total_seconds()
            who = line.site or "roll-out"
            self._say(f"  {after_s:6.1f} s  {who:8}  {line.kind.value:12} [dim]{escape(line.detail)}[/]")

    def _write_config(self) -> None:
        demo, document = self._demo, {}
        for site in SITES:
            port = demo.ports[f"plant-{site}"] = free_port()
            demo.ports[f"health-{site}"] = free_port()
            plant = {"port": port, "poll_period_s": POLL_PERIOD_S, "timeout_s": POLL_PERIOD_S * 0.8}
            document[site] = {"plant": plant, "R1": {KIND: {"decay_type": "linear", "slope": FOULING}}}
        demo.config.write_text(yaml.safe_dump(document))

    def _hold_ceremony(self) -> None:
        keys = self._demo.keys
        for name in (*APPROVERS, PROPOSER, "online", *(f"director-{site}" for site in SITES)):
            generate(keys, name, self._word)
        public = {name: load_public(keys / f"{name}.pub", name) for name in (*APPROVERS, PROPOSER, "online")}
        people = {name: public[name] for name in APPROVERS}
        self._approve(self._image.begin(people, public["online"], 2, {PROPOSER: public[PROPOSER]}))
        for site in SITES:
            director = Director(self._demo.centre.repository, site)
            director.begin(load_signer(keys / f"director-{site}.pem", self._word))

    def _publish(self, version: int, *drift: float) -> None:
        with self._step(f"{PROPOSER} proposes {KIND}/{version}; {' and '.join(APPROVERS[:2])} approve"):
            folder = write_release(self._demo.root / "releases" / str(version), version, *drift)
            self._approve(self._image.propose([folder], self._signer(PROPOSER)))

    def _approve(self, proposal: Path) -> None:
        for name in APPROVERS[:2]:
            self._image.approve(proposal, self._signer(name))
        self._image.publish(proposal, self._signer("online"))

    def _signer(self, name: str) -> Any:
        return load_signer(self._demo.keys / f"{name}.pem", self._word)

    def _start_rollout(self, version: int, plan: Plan) -> str:
        """As `control-plane rollout start` does it, without waiting for a program to start."""
        self._say(f"{PROPOSER} starts the roll-out of {KIND}/{version}, {CANARY} first")
        centre = self._demo.centre
        requests = Requests(centre.repository, centre.store(), centre.centre_log(), PROPOSER)
        return requests.start(f"{KIND}/{version}", SITES, plan, whole_fleet=True)

    def _resistance(self) -> tuple[float, float]:
        """What the canary's exchanger has now, and its rise a cycle, by the plant's own ledger."""
        lines = self._demo.ledger(CANARY).read_text().splitlines()[-LEDGER_ROWS:]
        values = [json.loads(line)["values"] for line in lines]
        resistance = [v[DROP] / max(v[FLOW], FLOW_MIN) ** 2 for v in values]
        slope, start = np.polyfit(np.arange(len(resistance)), resistance, 1)
        return float(start + slope * len(resistance)), float(slope)


def claims(story: RollbackStory, demo: Demo, processes: Processes, rollout_id: str) -> Iterator[Claim]:
    """What must have held."""
    lines = [line for line in story.journal() if line.rollout_id == rollout_id]
    rollout = story.of(rollout_id)
    told = {line.site for line in lines if line.kind is Kind.COMMANDED}
    gates = [json.loads(line.detail) for line in lines if line.kind is Kind.GATE]
    yield Claim("the canary's gate failed", any(g["ring"] == 0 and g["verdict"] == "fail" for g in gates))
    yield Claim("no other site was ever told of it", told == {CANARY})
    yield Claim("the roll-out went back", rollout.end is End.ROLLED_BACK)
    yield Claim("no person had a part in it", not any(line.kind in PEOPLE_DID for line in lines))
    sound, _ = ImageRepository(demo.centre.repository).release(f"{KIND}/1")
    runs = {site["site_id"]: [m["sha256"] for m in site["models"]] for site in demo.centre.store().sites()}
    yield Claim(f"every site runs {KIND}/1", all(runs.get(site) == [sound.sha256] for site in SITES))
    yield Claim("no process died on the way", not processes.revive() and not processes.restarts())
    yield Claim("the centre's record of it verifies", demo.centre.centre_log().verify().verified)


def main() -> int:
    """Prepare, roll out, watch, count."""
    arguments = argparse.ArgumentParser(prog="make demo-rollback", description=__doc__)
    arguments.add_argument("--folder", type=Path, default=ROOT)
    root = arguments.parse_args().folder
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    demo = Demo(root, None, None, free_ports())
    processes = Processes(demo.root, passphrase_environment())
    story = RollbackStory(demo, processes, console)
    try:
        story.prepare()
        rollout_id = story.roll_the_drifting_one_out()
        story.watch(rollout_id)
        found = list(claims(story, demo, processes, rollout_id))
        _report(console, story, rollout_id, found)
        story.end()
    except (RuntimeError, TimeoutError, PmStackError, KeyboardInterrupt) as error:
        console.print(f"[red]{escape(str(error)) or 'ended'}[/]")
        return 1
    finally:
        processes.stop_all()
    return 0 if all(claim.held for claim in found) else 1


def _report(console: Console, story: RollbackStory, rollout_id: str, found: list[Claim]) -> None:
    lines = [line for line in story.journal() if line.rollout_id == rollout_id]
    table = Table("site", "ring", "told", "where", "in its own words")
    rollout = story.of(rollout_id)
    for name in SITES:
        site = rollout.sites[name]
        words = [
            line.detail
            for line in lines
            if line.site == name and line.kind in (Kind.REFUSED, Kind.ROLLED_BACK)
        ]
        told = sum(line.kind is Kind.COMMANDED for line in lines if line.site == name)
        table.add_row(name, rollout.plan.rings[site.ring], str(told), site.where, escape("; ".join(words)))
    console.print(table)
    for claim in found:
        console.print(f"{'[green]held[/] ' if claim.held else '[red]broken[/]'} {claim.text}")
    seconds = {line.kind: (line.at - lines[0].at).total_seconds() for line in lines}
    failed = next((kind for kind in (Kind.ROLLED_BACK, Kind.REFUSED) if kind in seconds), Kind.GATE)
    told_s, failed_s, done_s = seconds[Kind.COMMANDED], seconds[failed], seconds[Kind.DONE]
    console.print(
        f"\nstarted -> stopped by the canary {failed_s:.1f} s -> fallback signed {told_s:.1f} s -> "
        f"at its end {done_s:.1f} s"
    )
    print(json.dumps({"stopped_s": round(failed_s, 1), "rolled_back_s": round(done_s, 1)}))


if __name__ == "__main__":
    sys.exit(main())
