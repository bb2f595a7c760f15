"""The fault table: real Kafka, real agents and ingest, the oracle plant; what is lost under which fault.

A *scene* is one broker, one ingest and some sites. Faults of a site (its agent, plant, disk, clock) are
injected into one site each, all in one scene; faults of the centre (broker, consumer) have a scene each, with
several sites. Every site has a seed of its own, made of the printed one: `--seed` replays a run. Afterwards
lake and topics are reckoned against what the plants showed (`bench.fault_account`); every count must be 0.
"""

import argparse
import json
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path

from bench.edge_site import BIN
from bench.fault_account import Reckoning, reckon, reordered_in_kafka
from bench.fault_site import FaultSite
from control_plane.ingest.completeness import read_accounts
from shared.errors import Retryable
from shared.listen import free_port
from tests.support.kafka import KafkaBroker, running_kafka
from tests.support.releases import Centre, make_release
from tests.support.web import served

PERIOD_S, TIMEOUT_S = 0.25, 0.1
FAST_PERIOD_S = 0.1  # of a site whose outbox must fill up while the broker is away
COMPONENTS = ("coolant_pump", "heat_exchanger")
CALM_S = 4.0  # before the fault and after it
FAULT_S = 12.0
AWAY_S = 60.0  # of the broker, as the row says
SETTLE_S = 120.0  # for what is committed to reach the lake
CENTRE_SITES = 4  # in a scene of a fault of the centre: as many seeds

BOTH_KILLED = "agents and consumer killed"

Injects = Callable[["Scene"], None]


@dataclass
class Scene:
    """What a fault of the centre acts on."""

    broker: KafkaBroker
    ingest: "Ingest"
    sites: Sequence[FaultSite]
    chance: random.Random

    def pause(self, least_s: float, most_s: float) -> None:
        """A time by chance."""
        time.sleep(self.chance.uniform(least_s, most_s))


class Ingest:
    """`control-plane serve --part ingest`, started and killed at will."""

    def __init__(self, folder: Path, config: Path, kafka: str) -> None:
        self._command = [str(BIN / "control-plane"), "serve", "--part", "ingest", "--config", str(config)]
        self._command += ["--data-dir", str(folder / "centre-data"), "--kafka", kafka]
        self._log = folder / "ingest.log"
        self.lake = folder / "centre-data" / "lake"
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """On the lake as it is."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM."""
        self._process.terminate()
        self._process.wait(SETTLE_S)


# --- faults of the centre


def _broker_killed(scene: Scene) -> None:
    for _ in range(2):
        scene.broker.kill()
        scene.pause(0.5, 3.0)
        scene.broker.start()
        scene.pause(0.5, 3.0)


def _broker_away(scene: Scene) -> None:
    scene.broker.stop()
    time.sleep(AWAY_S)
    scene.broker.start()


def _broker_slow(scene: Scene) -> None:
    end = time.monotonic() + FAULT_S
    while time.monotonic() < end:
        scene.broker.pause()
        scene.pause(0.3, 2.0)
        scene.broker.resume()
        scene.pause(0.05, 0.4)


def _consumer_killed(scene: Scene) -> None:
    for _ in range(3):
        scene.pause(0.5, 4.0)
        scene.ingest.kill()
        scene.ingest.start()


def _both_killed(scene: Scene) -> None:
    for site in scene.sites:
        if site.row != BOTH_KILLED:
            continue
        scene.pause(0.2, 1.5)
        scene.ingest.kill()
        site.kill_agent()
        scene.ingest.start()


CENTRE_FAULTS: dict[str, Injects] = {
    "broker killed and back": _broker_killed,
    "broker away 60 s": _broker_away,
    "broker slow": _broker_slow,
    "consumer killed": _consumer_killed,
    BOTH_KILLED: _both_killed,
}

# --- faults of one site


def _agent_killed(site: FaultSite) -> None:
    for _ in range(3):
        time.sleep(site.chance.uniform(0.1, 3.0))
        site.kill_agent()


def _plc(_site: FaultSite) -> None:
    time.sleep(FAULT_S)  # its plant has bad days from beginning to end


def _disk_full(site: FaultSite) -> None:
    for _ in range(2):
        site.fill_disk()
        time.sleep(site.chance.uniform(1.0, 3.0))
        site.free_disk()
        time.sleep(site.chance.uniform(1.0, 3.0))


def _damaged(site: FaultSite) -> None:
    site.damage_outbox()  # under the running agent
    time.sleep(FAULT_S / 3)
    site.kill_agent(site.damage_outbox)


def _clock_set(site: FaultSite) -> None:
    for _ in range(3):
        site.set_clock(site.chance.randrange(-7_200, 7_200))
        time.sleep(site.chance.uniform(1.0, 3.0))
    site.set_clock(0)


SITE_FAULTS: dict[str, Callable[[FaultSite], None]] = {
    "agent killed": _agent_killed,
    "PLC silent, reset, late": _plc,
    "outbox disk full": _disk_full,
    "outbox damaged": _damaged,
    "clock set": _clock_set,
}


def _bound_reached(site: FaultSite) -> None:
    time.sleep(0.8 * AWAY_S)  # by now the outbox is full; what gave way is still in the forwarder's memory
    site.kill_agent()


BOUND = "outbox bound reached"  # beside the sites of the scene in which the broker is away longest
BESIDE = {BOUND: _bound_reached}
ROWS = (*CENTRE_FAULTS, BOUND, *SITE_FAULTS)
GIVES_UP = (BOUND, "outbox disk full")  # a run in which nothing had to be given up there shows nothing


@dataclass
class Table:
    """Sums by row, over so many seeds."""

    rows: dict[str, Reckoning] = field(default_factory=lambda: {row: Reckoning() for row in ROWS})
    seeds: Counter[str] = field(default_factory=Counter)

    @property
    def totals(self) -> Reckoning:
        """Over all rows."""
        return sum(self.rows.values(), Reckoning())

    @property
    def held(self) -> bool:
        """All counts are 0, and where something had to be given up, it was, and is explained."""
        return self.totals.clean and all(self.rows[row].explained for row in GIVES_UP if self.seeds[row])

    def add(self, row: str, found: Reckoning) -> None:
        """One more site."""
        self.rows[row] += found
        self.seeds[row] += 1

    def lines(self) -> Iterator[str]:
        """For people, and as Markdown for the documents."""
        heads = ["fault", "seeds", *(name.replace("_", " ") for name in asdict(Reckoning()))]
        yield f"| {' | '.join(heads)} |"
        yield f"|---|{'---:|' * (len(heads) - 1)}"
        for row, found in self.rows.items():
            if self.seeds[row]:
                counts = " | ".join(f"{count:,}" for count in astuple(found))
                yield f"| {row} | {self.seeds[row]} | {counts} |"


def main() -> None:
    """Print the table; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="replays a run")
    parser.add_argument("--seeds", type=int, default=CENTRE_SITES, help="of each row, at least")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    table = Table()
    with tempfile.TemporaryDirectory() as data, running_kafka(Path(data)) as broker:
        for first in range(0, chosen.seeds, CENTRE_SITES):
            for number in range(first, min(first + CENTRE_SITES, chosen.seeds)):
                scene(broker, f"{chosen.seed}-{number}", list(SITE_FAULTS), None, table)
            for row in CENTRE_FAULTS:
                beside = [BOUND] * CENTRE_SITES if row == "broker away 60 s" else []
                scene(broker, f"{chosen.seed}-{first}", [row] * CENTRE_SITES + beside, row, table)
            for line in table.lines():  # so far: what a run that is broken off has shown
                print(line, flush=True)
    totals = asdict(table.totals)
    print(json.dumps({"benchmark": "faults", "seed": chosen.seed, **totals, "held": table.held}))
    sys.exit(0 if table.held else 1)


def scene(broker: KafkaBroker, seed: str, rows: Sequence[str], centre_row: str | None, table: Table) -> None:
    """One broker, one ingest, a site for each of `rows`; what is found goes into the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        played = play(broker, folder, seed, rows, [centre_row] if centre_row else [])
        for site in played.sites:
            found = played.reckoning(site)
            table.add(site.row, found)
            if not found.clean:
                print(f"seed {seed} {site.row} ({site.site_id}): {found}", flush=True)
                _keep(folder, seed, site)
    state = "settled" if played.settled else "NOT settled"
    print(f"{seed:>16} {centre_row or 'faults of sites'}: {state}", flush=True)


@dataclass
class Played:
    """What a scene left: its sites, the lake, and what Kafka's topics had in the wrong order, by site."""

    sites: Sequence[FaultSite]
    lake: Path
    settled: bool
    reordered: Mapping[str, int]

    def reckoning(self, site: FaultSite) -> Reckoning:
        """Of one site."""
        found = reckon(site, self.lake)
        found.reordered += self.reordered.get(site.site_id, 0)
        return found


def play(
    broker: KafkaBroker, folder: Path, seed: str, rows: Sequence[str], centre_rows: Sequence[str]
) -> Played:
    """A site for each of `rows` with its own fault; meanwhile those of the centre, one after the other."""
    broker.reset()
    ingest = Ingest(folder, folder / "fleet.json", broker.bootstrap)
    with _sites(folder, seed, rows, broker.bootstrap) as sites:
        ingest.start()
        time.sleep(CALM_S)
        chance = random.Random(seed)  # noqa: S311 - to be replayed
        _inject(Scene(broker, ingest, sites, chance), centre_rows)
        time.sleep(CALM_S)
    settled = _settled(ingest.lake, sites)
    ingest.stop()
    return Played(sites, ingest.lake, settled, reordered_in_kafka(broker.bootstrap))


@contextmanager
def _sites(folder: Path, seed: str, rows: Sequence[str], kafka: str) -> Iterator[list[FaultSite]]:
    """A plant and an agent for each row, all polling; ended in order, the agents drained."""
    names = [f"S{number:02d}" for number in range(len(rows))]
    config = folder / "fleet.json"
    config.write_text(json.dumps({name: _section(row) for name, row in zip(names, rows, strict=True)}))
    centre = Centre(folder, tuple(names))
    centre.roll_out(centre.publish(*make_release()))
    sites = [
        FaultSite(name, row, folder / name, config, random.Random(f"{seed}/{name}"))  # noqa: S311 - to be replayed
        for name, row in zip(names, rows, strict=True)
    ]
    with (
        served(centre.layout.repository) as url,
        ThreadPoolExecutor(len(sites)) as pool,
        ExitStack() as stack,
    ):
        for site in sites:
            site.folder.mkdir()
            site.prepare(kafka, url, centre.trust[site.site_id])
            stack.callback(site.end_plant)
        list(pool.map(FaultSite.start, sites))
        try:
            yield sites
        finally:
            list(pool.map(FaultSite.end, sites))


def _section(row: str) -> dict[str, object]:
    period_s = FAST_PERIOD_S if row == BOUND else PERIOD_S
    plant = {"port": free_port(), "poll_period_s": period_s, "timeout_s": TIMEOUT_S}
    return {"plant": plant, "R1": {name: {} for name in COMPONENTS}}


def _inject(scene: Scene, centre_rows: Sequence[str]) -> None:
    """All faults of the scene at once; those of the centre one after the other."""

    def of_the_centre() -> None:
        for row in centre_rows:
            CENTRE_FAULTS[row](scene)

    with ThreadPoolExecutor(len(scene.sites) + 1) as pool:
        own = SITE_FAULTS | BESIDE
        running = [pool.submit(own[site.row], site) for site in scene.sites if site.row in own]
        running.append(pool.submit(of_the_centre))
        for fault in running:
            fault.result()


def _settled(lake: Path, sites: Sequence[FaultSite]) -> bool:
    """Wait until everything that the sites numbered is accounted for, or the time is over."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        with suppress(Retryable):
            accounts = read_accounts(lake)
            if len({a.site_id for a in accounts}) == len(sites) and not any(a.not_yet for a in accounts):
                return True
        time.sleep(1.0)
    return False


def _keep(folder: Path, seed: str, site: FaultSite) -> None:
    """What a person needs to look into it."""
    kept = Path(".faults") / f"{seed}-{site.site_id}"
    shutil.copytree(site.folder, kept, dirs_exist_ok=True)
    shutil.copytree(folder / "centre-data" / "lake", kept / "lake", dirs_exist_ok=True)
    print(f"kept in {kept}", flush=True)


if __name__ == "__main__":
    main()
