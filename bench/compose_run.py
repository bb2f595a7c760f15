"""What runs here of infra/docker-compose.yml, started by podman-compose as the file has it.

That is our own images: plants, agents and the centre's parts, on free ports. The others' images (Kafka,
InfluxDB, Grafana, Prometheus, PostgreSQL, Mosquitto) come from registries that this machine may not reach:
the in-memory broker stands for Kafka, and who waits for them starts without (--no-deps). The summary says so.
"""

import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from bench.containers import podman, until
from control_plane.sinks.lake import LakeReader
from shared.errors import PmStackError
from shared.listen import free_port
from tests.support.services import running

COMPOSE = Path("infra/docker-compose.yml")
HERE = ("plant-tx01", "plant-id01", "agent-tx01", "agent-id01", "fleet", "ingest", "inference", "console")
SITES = {"TX01", "ID01"}
ULIMITS = {"nofile": {"soft": 1024, "hard": 1024}, "nproc": 1000}  # as bench.containers has them, and why
ROWS_MIN = 20  # in the lake, of each site: its records go on arriving


def compose_runs(folder: Path, config: Path) -> None:
    """Both sites' readings are in the lake of the stack, and console and fleet service are in health."""
    broker, console = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    addresses = {
        "PM_KAFKA": broker,
        "PM_LISTEN": console,
        "PM_FLEET_FILE": str(config),
        **{
            name: f"127.0.0.1:{free_port()}"
            for name in (
                "PM_FLEET_LISTEN",
                "PM_INFERENCE_LISTEN",
                "PM_INFERENCE_METRICS",
                "PM_INGEST_METRICS",
                "PM_TX01_HEALTH",
                "PM_ID01_HEALTH",
            )
        },
    }
    with (
        running("control-plane", "broker", "--listen", broker, port=int(broker.rpartition(":")[2])),
        _up(folder, addresses) as (project, compose),
    ):
        mount = podman("volume", "inspect", "--format", "{{.Mountpoint}}", f"{project}_centre").strip()

        def holds() -> bool:
            return (
                _healthy(project) and _arrived(Path(mount) / "lake") and answers(f"http://{console}/healthz")
            )

        until(
            "the stack's readings in its lake", holds, lambda: True, lambda: compose("logs", "--tail", "20")
        )
        counts = _counts(Path(mount) / "lake")
    rest = sorted(set(yaml.safe_load(COMPOSE.read_text())["services"]) - set(HERE))
    told = ", ".join(f"{rows} rows of {site}" for site, rows in counts.items())
    print(f"compose        {len(HERE)} services run from the file; in their lake: {told}")
    print(
        f"compose        not run here, only checked as text (no container registry): {', '.join(rest)}",
        flush=True,
    )


@contextmanager
def _up(folder: Path, addresses: dict[str, str]) -> Iterator[tuple[str, "Compose"]]:
    """The project's name, and what gives it commands; all of it is removed at the end, volumes too."""
    project = f"images-test-{uuid.uuid4().hex[:8]}"
    secrets = folder / "compose.env"
    asked = subprocess.run(
        ["grep", "-ohE", r"\$\{[A-Z_0-9]+:\?", COMPOSE], capture_output=True, text=True, check=True
    )
    names = sorted({line[2:-2] for line in asked.stdout.split()})
    settings = {**{name: uuid.uuid4().hex for name in names}, **addresses}
    secrets.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    limits = folder / "limits.yml"
    limits.write_text(yaml.safe_dump({"services": {name: {"ulimits": ULIMITS} for name in HERE}}))
    compose = Compose(project, secrets, limits)
    try:
        compose("up", "--detach", "--no-deps", "--no-build", *HERE)
        yield project, compose
    finally:
        compose("down", "--volumes", "--timeout", "40")


class Compose:
    """podman-compose on the file, for one project."""

    def __init__(self, project: str, secrets: Path, limits: Path) -> None:
        self._command = [
            str(Path(sys.executable).parent / "podman-compose"), "--in-pod", "false",
            "--podman-args", "--runtime runc",
            "--env-file", str(secrets), "-p", project, "-f", str(COMPOSE), "-f", str(limits),
        ]  # fmt: skip

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0 and arguments[0] == "up":
            raise RuntimeError(
                f"podman-compose up ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
            )
        return done.stdout + done.stderr


def _healthy(project: str) -> bool:
    """The health checks that the file orders by, run by hand."""
    for service in ("fleet", "ingest", "inference", "console", "agent-tx01", "agent-id01", "plant-tx01"):
        found = podman(
            "ps", "--quiet", "--filter", f"label=com.docker.compose.project={project}",
            "--filter", f"label=com.docker.compose.service={service}",
        ).split()  # fmt: skip
        if (
            not found
            or subprocess.run(
                ["podman", "healthcheck", "run", found[0]], capture_output=True, check=False
            ).returncode
        ):
            return False
    return True


def _counts(lake: Path) -> dict[str, int]:
    rows = LakeReader(lake).rows("SELECT site_id, count(*) AS n FROM telemetry GROUP BY 1 ORDER BY 1")
    return {row["site_id"]: row["n"] for row in rows}


def _arrived(lake: Path) -> bool:
    try:
        counts = _counts(lake)
    except PmStackError:  # no table yet
        return False
    return set(counts) == SITES and min(counts.values()) >= ROWS_MIN


def answers(url: str) -> bool:
    """Whether it answers 200 now."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - of a container just started
            return bool(answer.status == 200)
    except OSError:
        return False
