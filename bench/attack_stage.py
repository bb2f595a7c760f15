"""Where attacks are played: one running agent with its plant, and a hostile centre before it.

The agent is `edge-agent run` in a process of its own. It polls a real plant over Modbus and has a committed
release. What it fetches comes from an HTTP server, and what it is told from a fleet service, that show it
whatever an attack prepares. Each attack changes a *copy* of the true repository with the keys it is said to
hold; after it the true repository overtakes, and the site must take an honest roll-out.
"""

import itertools
import json
import random
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Snapshot, TargetFile, Targets, Timestamp

from bench.attack_server import FleetPrompter, HostileServer
from bench.edge_site import AgentProcess
from bench.fault_site import FaultSite
from control_plane.release.metadata_files import OFFLINE_EXPIRY, expires_in, load, publish, renew
from shared.listen import free_port
from shared.schemas import Manifest
from tests.support.releases import KIND, Centre, make_release

SITE, NEIGHBOUR = "TX01", "ID01"
PERIOD_S = 0.1
NOWHERE = "127.0.0.1:1"  # there is no Kafka: what the site commits stays in its outbox, where it is read
APPROVERS = ("alice", "carol")  # enough of them to publish
DEADLINE_S = 120.0  # for the agent to say what came of a look: a loop without end takes 5 s of CPU first
WAIT_S = 0.04
HONEST = "honest"
AWAY = "cannot be fetched"  # nothing came that could be refused: in the service's log, not in the audit log
VERSIONS_AHEAD = 10  # the site may have seen newer metadata than is shown when an attack ends
INFLATED_MIB = 1_024


@dataclass(frozen=True)
class Attack:
    """One row: what the attacker holds, what is prepared, and the check that must refuse it."""

    name: str
    holds: str
    check: str
    prepare: Callable[["Stage"], None]
    at_centre: bool = False  # `prepare` is all of it, and the centre's log has the refusal, under `check`


@dataclass
class SiteLog:
    """What the site has committed to its outbox since `since`, read beside the running agent."""

    outbox: Path
    since: int = 0

    def now(self) -> None:
        """Forget what is there already."""
        self.since = max((seq for seq, _, _ in self._rows("TRUE", 0)), default=0)

    def events(self, event: str) -> list[dict[str, Any]]:
        """Audit entries of an event."""
        found = (json.loads(body) for _, _, body in self._rows("schema = 'audit/1'", self.since))
        return [entry for entry in found if entry["event"] == event]

    def scored_by(self) -> list[str]:
        """SHA-256 of the model of each prediction, oldest first."""
        rows = self._rows("schema LIKE 'prediction/%'", self.since)
        return [json.loads(body)["model"]["sha256"] for _, _, body in rows]

    def _rows(self, condition: str, since: int) -> list[tuple[int, str, str]]:
        with closing(sqlite3.connect(f"file:{self.outbox}?mode=ro", uri=True)) as db:
            query = f"SELECT seq, schema, body FROM records WHERE seq > ? AND {condition} ORDER BY seq"  # noqa: S608
            return db.execute(query, (since,)).fetchall()


@dataclass
class Stage:
    """The agent, the true centre, and what is shown in its place."""

    folder: Path
    centre: Centre
    server: HostileServer
    fleet: FleetPrompter
    log: SiteLog
    agent: AgentProcess
    good: tuple[Manifest, bytes]
    elsewhere: HostileServer
    chance: random.Random
    centre_entries: int = 0  # of the centre's log before the attack
    logged: int = 0  # lines of the agent's log before the attack
    told: tuple[str, int] | None = None  # the command of this attack, where it is a special one
    gained: str = ""  # by an attack on the centre, in words
    undo: ExitStack = field(default_factory=ExitStack)
    first_rollout: str = ""
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(10))
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(100))

    @cached_property
    def gzipped_zeros(self) -> bytes:
        """A gigabyte of zeros, compressed."""
        packer = zlib.compressobj(9, wbits=31)
        block = bytes(1 << 20)
        return b"".join(packer.compress(block) for _ in range(INFLATED_MIB)) + packer.flush()

    @property
    def shown(self) -> Path:
        """The repository that the site sees now, for an attack to change."""
        return self.folder / "shown"

    def later(self, work: Callable[[], object]) -> None:
        """Do this when the attack is over."""
        self.undo.callback(work)

    def show_copy(self) -> None:
        """Begin an attack: what is shown is a fresh copy of the true repository."""
        shutil.rmtree(self.shown, ignore_errors=True)
        shutil.copytree(self.centre.layout.repository, self.shown, ignore=shutil.ignore_patterns("proposals"))
        self.server.show(self.shown)
        self.told = None
        self.gained, self.centre_entries = "", len(self.centre.layout.centre_log().entries())

    def metadata(self, repository: str) -> Path:
        """The shown metadata of `image`, or of `director/<site>`."""
        return self.shown / repository / "metadata"

    def signers(self, *names: str) -> list[Signer]:
        """By whose key: `alice`, `online`, `director-TX01`, ..."""
        return [self.centre.signer(name) for name in names]

    # --- with the approvers' keys, or some of them

    def approve(
        self, files: dict[str, bytes], *names: str, target_bytes: bool = True
    ) -> dict[str, TargetFile]:
        """Name files in the shown image repository, signed by `names`; the online key goes along.

        Beside the product's own `propose`, which would refuse most of what attacks bring.
        """
        folder = self.metadata("image")
        metadata = load(folder / "targets.json", Targets)
        added = {path: TargetFile.from_data(path, data) for path, data in files.items()}
        metadata.signed.targets |= added
        sign_next(metadata, folder, self.signers(*names))
        renew(folder, self.centre.signer("online"))
        for path, data in files.items() if target_bytes else ():
            place = self.shown / "image" / "targets" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return added

    def approve_release(
        self, manifest: Manifest | bytes, model: bytes, folder: str = ""
    ) -> dict[str, TargetFile]:
        """Two approvers were deceived into signing this release."""
        data = manifest if isinstance(manifest, bytes) else manifest.model_dump_json().encode()
        folder = folder or Manifest.model_validate_json(data).folder
        return self.approve({f"{folder}/model.onnx": model, f"{folder}/manifest.json": data}, *APPROVERS)

    # --- with the site's director key

    def assign(self, files: dict[str, TargetFile], site: str = SITE, **changes: object) -> None:
        """Name files in the shown director repository, as an active release of this component type."""
        custom: dict[str, object] = {"component_type": KIND, "mode": "active", "rollout_id": "attack"}
        custom |= {"generation": next(self.generations)} | changes
        folder = self.metadata(f"director/{site}")
        metadata = load(folder / "targets.json", Targets)
        metadata.signed.targets = {
            path: TargetFile(target.length, target.hashes, path, {"custom": custom})
            for path, target in files.items()
        }
        self.sign_director(metadata, site)

    def sign_director(self, metadata: Metadata[Targets], site: str = SITE) -> None:
        """Publish director targets as they are."""
        folder, signer = self.metadata(f"director/{site}"), self.centre.signer(f"director-{site}")
        sign_next(metadata, folder, [signer])
        renew(folder, signer)

    def next_release(self, **changes: Any) -> tuple[Manifest, bytes]:
        """A sound release that nobody has seen, with the fields of its manifest changed."""
        version = next(self.versions)
        return make_release(version=version, bias=float(version), **changes)

    def assign_good(self) -> None:
        """What the site runs already, once more."""
        folder = self.good[0].folder
        files = {p: t for p, t in self.centre.image.targets().items() if p.startswith(folder)}
        self.assign(files, rollout_id=HONEST)

    # --- what the site does

    def take_honestly(self) -> None:
        """Wait until the site has taken what is shown now: an attack that needs it begins after this."""
        self.log.now()
        self.fleet.command(HONEST, next(self.generations))
        self.until(lambda: self.log.events("model_committed"), "the site to take what is sound")

    def until(self, condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait; TimeoutError when it does not come true, RuntimeError when the agent ended."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            if not psutil.pid_exists(self.agent.pid):
                raise RuntimeError(f"the agent ended: {(self.folder / 'agent.log').read_text()[-2_000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {deadline_s:.0f} s for {what}")
            time.sleep(WAIT_S)

    def accepted(self) -> str:
        """What centre or site took that it should not have, in words."""
        if self.gained:
            return self.gained
        if self.elsewhere.asked:
            return "another host was asked"
        others = {sha for sha in self.log.scored_by() if sha != self.good[0].sha256}
        if others:
            return f"scores with {others}"
        committed = [entry["detail"] for entry in self.log.events("model_committed")]
        wrong = [each for each in committed if each["rollout_id"] != HONEST]
        return f"committed {wrong[0]['release']}" if wrong else ""

    def away(self) -> str:
        """Why nothing could be fetched, as the agent's own log says it since the attack began."""
        lines = (self.folder / "agent.log").read_text().splitlines()[self.logged :]
        found = (json.loads(line) for line in lines if '"no look at the repositories"' in line)
        return next((str(each["reason"]) for each in found), "")

    def runs(self, generation: int) -> bool:
        """Whether the honest roll-out of this generation is committed."""
        committed = [entry["detail"] for entry in self.log.events("model_committed")]
        return any(each["generation"] == generation for each in committed)

    def memory(self) -> "PeakMemory":
        """The agent's, from now on."""
        return PeakMemory(self.agent.pid)

    def prompt(self) -> None:
        """The fleet service says: look."""
        self.logged = len((self.folder / "agent.log").read_text().splitlines())
        self.fleet.command(*(self.told or ("attack", next(self.generations))))

    def overtake(self) -> int:
        """The true centre publishes newer metadata than was shown, and rolls the good release out again."""
        self.undo.close()
        true, generation = self.centre.layout.repository, next(self.generations)
        files = {p: t for p, t in self.centre.image.targets().items() if p.startswith(self.good[0].folder)}
        self._overtake("image", true, self.signers(*APPROVERS), self.centre.signer("online"))
        director = true / "director" / SITE / "metadata"
        metadata = load(director / "targets.json", Targets)
        custom = {"component_type": KIND, "mode": "active", "rollout_id": HONEST, "generation": generation}
        metadata.signed.targets = {
            path: TargetFile(target.length, target.hashes, path, {"custom": custom})
            for path, target in files.items()
        }
        publish(metadata, director)
        own = self.centre.signer(f"director-{SITE}")
        self._overtake(f"director/{SITE}", true, [own], own)
        self.server.show(true)
        self.fleet.command(HONEST, generation)
        return generation

    def _overtake(self, repository: str, true: Path, signers: Sequence[Signer], online: Signer) -> None:
        own, shown = true / repository / "metadata", self.metadata(repository)
        targets = load(own / "targets.json", Targets)
        targets.signed.version = VERSIONS_AHEAD + max(version(own, "targets"), version(shown, "targets"))
        sign_next(targets, own, signers)
        snapshot, timestamp = load(own / "snapshot.json", Snapshot), load(own / "timestamp.json", Timestamp)
        snapshot.signed.version = VERSIONS_AHEAD + max(version(own, "snapshot"), version(shown, "snapshot"))
        timestamp.signed.version = VERSIONS_AHEAD + max(
            version(own, "timestamp"), version(shown, "timestamp")
        )
        publish(snapshot, own)
        publish(timestamp, own)
        renew(own, online)


class PeakMemory:
    """How much a process grew at most since this was made (Linux: /proc)."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")  # the peak is counted anew
        self._before_mib = self._peak_mib()

    def _peak_mib(self) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    def more_mib(self) -> float:
        """MiB above what it had."""
        return self._peak_mib() - self._before_mib


def sign_next(metadata: Metadata[Targets], folder: Path, signers: Sequence[Signer]) -> None:
    """Publish the next version, signed by each of `signers`."""
    metadata.signed.version += 1
    metadata.signed.expires = expires_in(OFFLINE_EXPIRY)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    publish(metadata, folder)


def version(folder: Path, role: str) -> int:
    """Of a metadata file, whatever else is wrong with it; 0 where there is none that can be read."""
    try:
        return int(json.loads((folder / f"{role}.json").read_bytes())["signed"]["version"])
    except (OSError, ValueError, KeyError, RecursionError):
        return 0


@contextmanager
def staged(folder: Path, seed: int) -> Iterator[Stage]:
    """A centre, a plant and an agent that scores with a committed release; all ended at the end."""
    centre, good = Centre(folder, (SITE, NEIGHBOUR)), make_release()
    first_rollout = centre.roll_out(centre.publish(*good))
    config = folder / "fleet.json"
    plant = {"port": free_port(), "poll_period_s": PERIOD_S, "timeout_s": PERIOD_S}
    config.write_text(json.dumps({SITE: {"plant": plant, "R1": {KIND: {}}}}))  # JSON is YAML
    site = FaultSite(SITE, "attacks", folder, config, random.Random(0))  # noqa: S311 - its row has no chance
    with (
        HostileServer() as server,
        HostileServer() as elsewhere,
        FleetPrompter() as fleet,
        ExitStack() as stack,
    ):
        elsewhere.show(folder / "elsewhere")
        server.show(centre.layout.repository)
        site.prepare(NOWHERE, server.url, centre.trust[SITE], fleet.address)
        stack.callback(site.end_plant)
        stack.callback(site.agent.kill)
        site.start()
        log, chance = SiteLog(site.outbox), random.Random(seed)  # noqa: S311 - to be replayed
        yield Stage(
            folder,
            centre,
            server,
            fleet,
            log,
            site.agent,
            good,
            elsewhere,
            chance,
            first_rollout=first_rollout,
        )
