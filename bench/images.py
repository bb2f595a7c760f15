"""`make images-test`: every image runs under its restrictions and does its work; sizes and start.

Each is called as its users would: the simulated plant by the agent over Modbus, the agent by what it left in
its outbox, inference by a gRPC prediction of a published release, console and MLflow over HTTP. Then what
runs here of the compose file is started by podman-compose. The last line is JSON.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from time import monotonic

import grpc
import yaml

from bench.arguments import takes_none
from bench.cloud_run import cloud_run
from bench.compose_run import answers, compose_runs
from bench.containers import STOP_S, USER_ID, Container, image, inspect, once, podman, running
from edge_agent.outbox.reader import OutboxReader
from shared.listen import free_port
from shared.wire import rul_pb2, rul_pb2_grpc
from tests.support.inference import request
from tests.support.releases import Centre, make_release

MB = 1_000_000
AGENT_MB_MAX, INFERENCE_MB_MAX = 350, 400  # with the base that was used
START_S_MAX = 3.0  # from `podman run` to the first prediction
STARTS = 3  # the quickest counts: a busy machine makes the others slow
STOP_S_MAX = 10.0  # Cloud Run kills after that
IMAGES = ("inference", "mlflow", "simulation", "edge-agent", "control-plane")
NOT_IN = {
    "inference": ("torch", "mlflow"),
    "edge-agent": ("torch", "mlflow", "fastapi"),
    "control-plane": ("torch",),
}
LIST = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
CONFIG = "/etc/pm-stack-smr/reactor_config.yaml"
HOST = "127.0.0.1"


def main() -> None:
    """Print what each image was seen to do, then the figures; exit 1 when a limit is passed."""
    sizes = {name: inspect(name)["Size"] / MB for name in IMAGES}
    for name in IMAGES:
        _check_contents(name)
        print(f"{image(name):<44} {sizes[name]:7.0f} MB", flush=True)
    with tempfile.TemporaryDirectory(prefix="images-test-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        config = _config(folder)
        _site(folder, config)
        start_s, cpu_s = _inference(folder, config)
        cloud_s = _on_cloud_run(folder, config)
        _control_plane(folder, config)
        _mlflow(folder)
        compose_runs(folder, config)
    held = (
        sizes["edge-agent"] <= AGENT_MB_MAX
        and sizes["inference"] <= INFERENCE_MB_MAX
        and start_s <= START_S_MAX
    )
    print(f"agent image      {sizes['edge-agent']:6.0f} MB (limit: {AGENT_MB_MAX})")
    print(f"inference image  {sizes['inference']:6.0f} MB (limit: {INFERENCE_MB_MAX})")
    print(f"first prediction {start_s:6.2f} s  (limit: {START_S_MAX:g})")
    print(f"  on Cloud Run   {cloud_s:6.2f} s  (the release fetched from an object store)")
    print(f"  of a core      {cpu_s:6.2f} s  (the machine's load: {os.getloadavg()[0]:.1f})")
    figures = {
        "agent_mb": round(sizes["edge-agent"]), "inference_mb": round(sizes["inference"]),
        "start_s": round(start_s, 2), "start_cpu_s": round(cpu_s, 2),
        "cloud_run_start_s": round(cloud_s, 2), "held": held,
    }  # fmt: skip
    print(json.dumps(figures))
    sys.exit(not held)


def _check_contents(name: str) -> None:
    """Nobody's root, no library that has no business there, no trace of how packages were fetched."""
    found = inspect(name)
    _require(found["User"] == f"{USER_ID}:{USER_ID}", f"{name}: runs as {found['User']}")
    packages = once(name, "-c", LIST, entrypoint="python").split()
    _require("pip" not in packages, f"{name}: holds pip")
    for package in NOT_IN.get(name, ()):
        _require(package not in packages, f"{name}: holds {package}")
    told = json.dumps(found) + podman("image", "history", "--no-trunc", "--format", "json", image(name))
    for variable, value in os.environ.items():
        if variable.startswith(("UV_", "PIP_")) and value.startswith(("http", "/")):
            _require(value not in told, f"{name}: tells {variable} of the machine that built it")


def _config(folder: Path) -> Path:
    """Two sites, as in the repository's own file, whose plants serve on ports that are free."""
    document = yaml.safe_load(Path("reactor_config.yaml").read_text())
    sites = {name: document[name] for name in ("TX01", "ID01")}
    for site in sites.values():
        site["plant"]["port"] = free_port()
    path = folder / "reactor_config.yaml"
    path.write_text(yaml.safe_dump(sites, sort_keys=False))
    path.chmod(0o644)
    return path


def _site(folder: Path, config: Path) -> None:
    """The agent's image polls the plant's image, and keeps what it read; its drain ends in order."""
    plant, agent = _folder(folder / "plant"), _folder(folder / "agent")
    health = f"{HOST}:{free_port()}"
    away = {
        "EDGE_KAFKA": f"{HOST}:{free_port()}",
        "EDGE_FLEET": f"{HOST}:{free_port()}",
        "EDGE_HEALTH": health,
    }
    with (
        running(
            "simulation", volumes={config: CONFIG, plant: "/data"}, environment={"EDGE_SITE": "TX01"}
        ) as simulated,
        running(
            "edge-agent", volumes={config: CONFIG, agent: "/data"}, environment={"EDGE_SITE": "TX01", **away}
        ) as polls,
    ):
        simulated.until("a plant that its own client can read", simulated.healthy)
        polls.until("rows in the outbox", lambda: _good_rows(agent) > 0)
        polls.until("an agent in health", polls.healthy)
        _end_of(simulated, "simulation", "serves a plant over Modbus")
        _end_of(
            polls,
            "edge-agent",
            f"polled it: {_good_rows(agent)} rows of good values in its outbox",
            within_s=STOP_S,
        )


def _good_rows(data_dir: Path) -> int:
    """Telemetry rows in an agent's outbox that hold a number of every tag, read from the plant."""
    if not (data_dir / "outbox.db").exists():
        return 0
    with OutboxReader(data_dir / "outbox.db") as outbox:
        records = (seen.row.record for seen in outbox.rows())
        return sum(b'"quality":{}' in record.body for record in records if record.schema == "telemetry/1")


def _inference(folder: Path, config: Path) -> tuple[float, float]:
    """A prediction of a published, verified release; seconds to it from the start, the quickest of some."""
    centre = Centre(folder / "inference")
    release = centre.publish(*make_release())
    _give(centre.layout.data_dir)
    best = (float("inf"), 0.0)
    for number in range(STARTS):
        address, metrics = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
        begun = monotonic()
        with running(
            "inference", volumes={config: CONFIG, centre.layout.data_dir: "/data"},
            environment={"PM_INFERENCE_LISTEN": address, "PM_INFERENCE_METRICS": metrics},
        ) as serves:  # fmt: skip
            answer = _first_answer(serves, address)
            best = min(best, (monotonic() - begun, serves.cpu_s()))
            _require(answer.model_version == release, f"inference answered with {answer.model_version}")
            if number == 0:
                serves.until("inference in health", serves.healthy)
                _end_of(serves, "inference", f"{release} predicts: RUL {answer.predicted_rul:.2f}")
    return best


def _on_cloud_run(folder: Path, config: Path) -> float:
    """Seconds to the first answer, by Cloud Run's contract, with a release that an object store had."""
    centre = Centre(folder / "cloud-run")
    release = centre.publish(*make_release())
    with cloud_run(centre, folder / "secrets", config, CONFIG) as service:
        answer = _first_answer(service.container, service.address, service.token)
        took_s = monotonic() - service.began_s
        _require(answer.model_version == release, f"inference answered with {answer.model_version}")
        _require(_refused(service.address), "a caller without a token was answered")
        _end_of(service.container, "inference", f"on Cloud Run's terms, {release} from an object store")
    return took_s


def _refused(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            rul_pb2_grpc.RULInferenceServiceStub(channel).PredictRUL(request(), timeout=10)
        except grpc.RpcError as error:
            return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
    return False


def _first_answer(serves: Container, address: str, token: str = "") -> rul_pb2.PredictRULResponse:
    metadata = [("authorization", f"Bearer {token}")] if token else []
    answers: list[rul_pb2.PredictRULResponse] = []

    def answered() -> bool:
        with grpc.insecure_channel(address) as channel:
            try:
                answers.append(
                    rul_pb2_grpc.RULInferenceServiceStub(channel).PredictRUL(
                        request(), timeout=10, metadata=metadata
                    )
                )
            except grpc.RpcError:
                return False
        return True

    serves.until("a prediction", answered)
    return answers[0]


def _control_plane(folder: Path, config: Path) -> None:
    """Its commands are there, and console and API answer."""
    _require("rollout" in once("control-plane", "--help"), "control-plane --help does not list its commands")
    data, address = _folder(folder / "centre"), f"{HOST}:{free_port()}"
    with running(
        "control-plane", "serve", "--part", "web", volumes={config: CONFIG, data: "/data"},
        environment={"PM_LISTEN": address},
    ) as serves:  # fmt: skip
        serves.until("console and API", lambda: answers(f"http://{address}/healthz"))
        serves.until("a console in health", serves.healthy)
        _end_of(serves, "control-plane", "--help; console and API answer")


def _mlflow(folder: Path) -> None:
    """The tracking server answers its API."""
    data, port = _folder(folder / "mlflow"), free_port()
    with running("mlflow", volumes={data: "/data"}, environment={"MLFLOW_PORT": str(port)}) as serves:
        url = f"http://{HOST}:{port}/api/2.0/mlflow/experiments/get?experiment_id=0"
        serves.until("MLflow's API", lambda: answers(url))
        serves.until("an MLflow in health", serves.healthy)
        _end_of(serves, "mlflow", "its API answers", code=None, within_s=STOP_S)


def _end_of(
    container: Container, name: str, did: str, code: int | None = 0, within_s: float = STOP_S_MAX
) -> None:
    """It ran as the image's user, and ends by SIGTERM in order and in time."""
    _require(container.user_ids() == {USER_ID}, f"{name}: ran as {container.user_ids()}")
    ended, took_s = container.stop()
    _require(code is None or ended == code, f"{name}: ended with {ended}\n{container.logs()[-2000:]}")
    _require(took_s <= within_s, f"{name}: took {took_s:.1f} s to end")
    print(f"{name:<14} read-only, uid {USER_ID}: {did}; ended in {took_s:.1f} s", flush=True)


def _folder(path: Path) -> Path:
    path.mkdir()
    _give(path)
    return path


def _give(path: Path) -> None:
    """To the images' user: what is mounted keeps the machine's owners."""
    for each in (path, *path.rglob("*")):
        os.chown(each, USER_ID, USER_ID)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise RuntimeError(problem)


if __name__ == "__main__":
    takes_none(__doc__)
    main()
