"""The steps before the live run, through the same commands that a person would type; and the end."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from demo.processes import Processes
from demo.settings import REPLAY_SITE, Demo, first_anomaly_row, write_config
from demo.summary import count_records
from shared.reactor_config import load_fleet

APPROVERS = ("alice", "bob", "carol")
PROPOSER = "dave"
ACCOUNT = "demo"
SIMULATED_TYPES = ("coolant_pump", "heat_exchanger")
TRAINING_RUNS = 48
DECAY_SPREAD = 0.7  # wide enough to hold every wear rate in reactor_config.yaml
EPOCHS = 10
ROWS_PER_RECORDING = 400  # the usual SKAB split: the first 400 rows of a file train
PLAN = "soak_s: 0\nrings_percent: []\ngate: {windows_min: 0}\n"  # nobody waits an hour for a demo
START_DEADLINE_S = 240.0  # some seconds alone; an end of what starts is seen at once
COMMIT_DEADLINE_S = 120.0
ARRIVAL_DEADLINE_S = 60.0


class Story:
    """Prepares everything, and ends it in order."""

    def __init__(self, demo: Demo, processes: Processes, console: Console, config: Path) -> None:
        self._demo, self._processes, self._console = demo, processes, console
        self._product_config = config
        self._began = time.monotonic()
        self.sites: list[str] = []
        self.token = ""  # for the console's API
        self._password = ""

    # --- the way to the live run ----------------------------------------------------------------

    def prepare(self) -> None:
        """From nothing to a fleet that scores with approved models."""
        demo = self._demo
        self.sites = write_config(demo, self._product_config)
        if demo.recordings is None:
            self._say("no recordings found: RIG01 replays a simulated pump; see --recordings")
        with self._step("start the broker (in memory: for evaluation only)"):
            self._processes.start("broker", "control-plane", "broker", "--listen", demo.at("broker"))
            self._wait_for("broker")
        self._train_and_hold_ceremony()
        self._approve_and_publish()
        with self._step(f"add the account {ACCOUNT} for the console, and a token for this view of it"):
            self._make_account()
        with self._step("start the centre: ingest, fleet service, repositories, inference, console"):
            self._start_centre()
        enrolling = self._step("enrol the sites: a one-time token each, a certificate for mutual TLS")
        with enrolling, ThreadPoolExecutor(2) as pool:
            list(pool.map(self._enrol, self.sites))
        with self._step(f"start {len(self.sites)} plants (Modbus TCP) and {len(self.sites)} agents"):
            self._start_sites()
        self._roll_out()
        self._console.print(f"\n[bold]console: [link]{demo.url('/')}[/link][/]")
        self._console.print(f"account: {ACCOUNT}, one-time password {self._password} (it asks for another)\n")

    def _make_account(self) -> None:
        roles = [f"--role={role}" for role in ("operator", "engineer", "auditor")]
        told = self._centre("account", "add", ACCOUNT, *roles, "--json", *self._data_dir())
        self._password = json.loads(told)["one_time_password"]
        scope = ("--account", ACCOUNT, "--scope", "see", "--days", "1")
        told = self._centre("token", "add", "live", *scope, "--json", *self._data_dir())
        self.token = json.loads(told)["token"]

    def _train_and_hold_ceremony(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            try:
                jobs = [pool.submit(self._train_simulated, kind) for kind in SIMULATED_TYPES]
                if self._demo.recordings is not None:
                    jobs.append(pool.submit(self._train_recorded, self._demo.recordings))
                self._hold_ceremony()
                with self._step(f"simulate, train, evaluate, export to ONNX and register {len(jobs)} models"):
                    for job in jobs:
                        job.result()
            except BaseException:
                self._processes.stop_all()  # else leaving this block would wait for the trainings
                raise

    def _train_simulated(self, kind: str) -> None:
        data = self._demo.root / "training" / f"{kind}.parquet"
        data.parent.mkdir(exist_ok=True)
        self._simulate(kind, data, "--runs", str(TRAINING_RUNS), "--decay-spread", str(DECAY_SPREAD))
        self._train(kind, data)

    def _simulate(self, kind: str, output: Path, *extra: str) -> None:
        """Histories of the product's own configuration: the demo's has the fault that is to be found."""
        self._processes.run(
            f"simulate-{kind}",
            "edge-agent", "simulate", "--config", str(self._product_config), "--site-id", "TX01",
            "--reactor-id", "R1", "--component", kind, "--cycles", "1500", "--seed", "1000",
            "--stop-at-failure", "--output-path", str(output), *extra,
        )  # fmt: skip

    def _train_recorded(self, recordings: Path) -> None:
        self._train("pump_rig", recordings, "--rows-per-file", str(ROWS_PER_RECORDING))

    def _train(self, kind: str, data: Path, *extra: str) -> None:
        self._processes.run(
            f"train-{kind}",
            "control-plane", "train", "--component-type", kind, "--data", str(data),
            "--epochs", str(EPOCHS), "--output", str(self._demo.root / "releases" / kind),
            "--tracking-uri", self._demo.centre.tracking_uri, *extra,
            on_line=self._trained(kind),
        )  # fmt: skip

    def _trained(self, kind: str) -> Callable[[str], None]:
        def show(line: str) -> None:
            self._say(f"  [dim]{kind}: {escape(line)}[/]")

        return show

    def _hold_ceremony(self) -> None:
        keys = self._demo.keys
        with self._step(f"key ceremony: {', '.join(APPROVERS)} (2 of 3 must approve), one director a site"):
            names = (*APPROVERS, PROPOSER, "online", *(f"director-{site}" for site in self.sites))
            self._centre("keys", "generate", *names, "--folder", str(keys))
            people = [f"--approver={name}={keys / name}.pub" for name in APPROVERS]
            people.append(f"--proposer={PROPOSER}={keys / PROPOSER}.pub")
            proposal = self._release("init", *people, "--online", str(keys / "online.pub")).strip()
            self._sign_and_publish(proposal)
            for site in self.sites:  # what the site is to trust comes to it with its enrolment
                key, trust = str(keys / f"director-{site}.pem"), str(self._demo.root / "roots" / site)
                self._release("director", site, "--key", key, "--trust", trust)

    def _approve_and_publish(self) -> None:
        with self._step(f"{PROPOSER} proposes; {APPROVERS[0]} and {APPROVERS[1]} approve; published"):
            releases = sorted(str(path) for path in (self._demo.root / "releases").iterdir())
            by = str(self._demo.keys / f"{PROPOSER}.pem")
            proposal = self._release("propose", *releases, "--by", by).strip()
            self._sign_and_publish(proposal)

    def _sign_and_publish(self, proposal: str) -> None:
        keys = self._demo.keys
        for name in APPROVERS[:2]:
            self._centre("release", "approve", proposal, "--key", str(keys / f"{name}.pem"), "--yes")
        self._release("publish", proposal, "--online-key", str(keys / "online.pem"))

    def _start_centre(self) -> None:
        demo = self._demo
        self._processes.start(
            "centre",
            "control-plane", "serve", "--config", str(demo.config), "--data-dir", str(demo.centre.data_dir),
            "--kafka", demo.at("broker"), "--listen", demo.at("console"), "--fleet-listen", demo.at("fleet"),
            "--inference-listen", demo.at("inference"), "--centre-name", "127.0.0.1",
            "--repository-listen", demo.at("repositories"), "--enrol-listen", demo.at("enrolment"),
            "--director-keys", str(demo.keys),
        )  # fmt: skip
        for name in ("console", "fleet", "repositories", "enrolment", "inference"):
            self._wait_for(name)

    def _enrol(self, site: str) -> None:
        """A one-time token for a certificate: from then on site and centre speak mutual TLS."""
        told = json.loads(self._centre("site", "token", site, "--json", *self._data_dir()))
        self._processes.run(
            f"enroll-{site}",
            "edge-agent", "enroll", "--site", site, "--token", told["token"], "--centre",
            self._demo.at("enrolment"), "--ca-fingerprint", told["ca_fingerprint"],
            "--data-dir", str(self._demo.site(site)),
        )  # fmt: skip

    def _start_sites(self) -> None:
        demo = self._demo
        (demo.root / "plants").mkdir()
        for site in self.sites:
            self._processes.start(
                f"plant-{site}",
                "edge-agent", "plant", "--config", str(demo.config), "--site", site,
                "--ledger", str(demo.ledger(site)), *(self._replay() if site == REPLAY_SITE else ()),
            )  # fmt: skip
        for site in self.sites:
            self._wait_for(f"plant-{site}")
            self._processes.start(
                f"agent-{site}",
                "edge-agent", "run", "--config", str(demo.config), "--site", site,
                "--data-dir", str(demo.site(site)), "--kafka", demo.at("broker"),
                "--fleet", demo.at("fleet"), "--health", demo.at(f"health-{site}"),
                "--repository", f"https://{demo.at('repositories')}/repository",
            )  # fmt: skip

    def _replay(self) -> list[str]:
        if self._demo.recordings is not None:
            row = first_anomaly_row(self._demo.recordings)
            return ["--replay", str(self._demo.recordings), "--from-row", str(row)]
        folder = self._demo.root / "recordings"
        folder.mkdir()
        self._simulate("coolant_pump", folder / "pump.csv")
        return ["--replay", str(folder)]

    def _roll_out(self) -> None:
        targets = load_fleet(self._demo.config)
        kinds = {c.type for c in targets.components().values()}
        releases = [self._release_of(kind) for kind in sorted(kinds)]
        sites = [f"--site={site}" for site in self.sites]
        plan = self._demo.root / "plan.yaml"
        plan.write_text(PLAN)
        with self._step(f"roll {', '.join(releases)} out to {', '.join(self.sites)}, a canary first"):
            self._centre("rollout", "start", *releases, *sites, "--plan", str(plan), *self._data_dir())
            self._wait_until("every site has committed every model", self._all_committed, COMMIT_DEADLINE_S)

    def _release_of(self, kind: str) -> str:
        manifest = json.loads((self._demo.root / "releases" / kind / "manifest.json").read_text())
        return f"{manifest['name']}/{manifest['version']}"

    def _all_committed(self) -> bool:
        rows = json.loads(self._centre("rollout", "status", "--json", *self._data_dir()))
        refused = [row for row in rows if row["state"] == "refused"]
        if refused:
            raise RuntimeError(
                f"{refused[0]['site']} refused {refused[0]['release']}: {refused[0]['detail']}"
            )
        return all(row["state"] == "committed" for row in rows)

    # --- the end --------------------------------------------------------------------------------

    def end(self) -> None:
        """Agents drain, plants end, what is under way arrives, the centre ends."""
        with self._step("end the agents (each drains its outbox), then the plants"):
            self._processes.stop(*(f"agent-{site}" for site in self.sites))
            self._processes.stop(*(f"plant-{site}" for site in self.sites))
        with (
            self._step("wait for what is under way, then end the centre and the broker"),
            suppress(TimeoutError),
        ):
            self._wait_until("every committed record has arrived", self._all_arrived, ARRIVAL_DEADLINE_S)
        self._processes.stop("centre")
        self._processes.stop("broker")

    def _all_arrived(self) -> bool:
        counts = count_records(self._demo, self.sites)
        return bool(counts["lost"] == 0)

    # --- helpers --------------------------------------------------------------------------------

    def _centre(self, *command: str) -> str:
        return self._processes.run("control-plane", "control-plane", *command)

    def _release(self, *command: str) -> str:
        return self._centre("release", *command, *self._data_dir())

    def _data_dir(self) -> list[str]:
        return ["--data-dir", str(self._demo.centre.data_dir)]

    def _wait_for(self, name: str) -> None:
        """Until something listens at the part's port."""

        def listens() -> bool:
            dead = self._processes.revive()
            if dead:
                raise RuntimeError(f"{dead[0]}; see {self._demo.root}/logs")
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._demo.ports[name]), 0.5):
                return True
            return False

        self._wait_until(f"{name} listens", listens, START_DEADLINE_S)

    def _wait_until(self, what: str, holds: Callable[[], bool], deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {deadline_s:.0f} s: {what}; see {self._demo.root}/logs")
            time.sleep(0.2)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self._say(what)
        began = time.monotonic()
        yield
        self._say(f"  [green]done[/] in {time.monotonic() - began:.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/] {text}", soft_wrap=True)


def passphrase_environment() -> dict[str, str]:
    """The environment of every part. The keys live in `.demo`, and approve nothing else."""
    return os.environ | {
        "PM_KEY_PASSPHRASE": "demo-only",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",  # two trainings side by side: more threads than cores spin for nothing
    }
