"""`edge-agent run`."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.outbox.limits import PENDING_BYTES_MAX, PENDING_ROWS_MAX, OutboxLimits, WhenFull
from edge_agent.settings import AgentSettings
from edge_agent.systemd import configure_logs
from shared.kafka_client import VARIABLE, load_client_settings
from shared.reactor_config import load_fleet

if TYPE_CHECKING:
    from edge_agent.app import Agent


def run(
    *,
    config: Annotated[Path, typer.Option(envvar="EDGE_CONFIG", help="The fleet's reactor_config.yaml")],
    site: Annotated[str, typer.Option(envvar="EDGE_SITE", help="This site's id in it")],
    data_dir: Annotated[Path, typer.Option(envvar="EDGE_DATA_DIR", help="Outbox, models, audit key")],
    trust_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="EDGE_TRUST_DIR",
            help="The repositories' root.json; DATA_DIR/trust, where `enroll` left them",
        ),
    ] = None,
    kafka: Annotated[str, typer.Option(envvar="EDGE_KAFKA", help="HOST:PORT")] = "127.0.0.1:9092",
    fleet: Annotated[str, typer.Option(envvar="EDGE_FLEET", help="HOST:PORT")] = "127.0.0.1:50052",
    repository: Annotated[
        str, typer.Option(envvar="EDGE_REPOSITORY", help="URL of the signed repositories")
    ] = "http://127.0.0.1:8080/repository",
    health: Annotated[
        str, typer.Option(envvar="EDGE_HEALTH", help="HOST:PORT of /healthz and /metrics")
    ] = "127.0.0.1:9101",
    kafka_client_config: Annotated[
        Path | None, typer.Option(envvar=VARIABLE, help="File of librdkafka's TLS and SASL settings")
    ] = None,
    outbox_rows_max: Annotated[
        int, typer.Option(envvar="EDGE_OUTBOX_ROWS_MAX", min=1_000, help="not yet acknowledged by Kafka")
    ] = PENDING_ROWS_MAX,
    outbox_bytes_max: Annotated[
        int, typer.Option(envvar="EDGE_OUTBOX_BYTES_MAX", min=1 << 20, help="of the same rows")
    ] = PENDING_BYTES_MAX,
    when_full: Annotated[
        WhenFull,
        typer.Option(envvar="EDGE_WHEN_FULL", help="which readings and predictions give way at these bounds"),
    ] = WhenFull.DROP_OLDEST,
) -> None:
    """Look after one site: poll, score, keep, forward; until SIGTERM. SIGHUP reads the configuration again.

    Example: edge-agent run --config reactor_config.yaml --site TX01 --data-dir /var/lib/edge-agent
    --fleet centre.example:50052 --repository https://centre.example:8443/repository
    """
    from edge_agent.app import Agent  # onnxruntime, gRPC, TUF: the other commands start without them
    from edge_agent.identity import require_secure

    configure_logs()
    require_secure(data_dir, site, fleet, repository)
    settings = AgentSettings(
        config=config, site=site, data_dir=data_dir, trust_dir=trust_dir or data_dir / "trust", kafka=kafka,
        fleet=fleet, repository=repository, health=health,
        kafka_client=load_client_settings(kafka_client_config),
        outbox=OutboxLimits(
            pending_rows_max=outbox_rows_max, pending_bytes_max=outbox_bytes_max, when_full=when_full
        ),
    )  # fmt: skip
    asyncio.run(_until_told(Agent(settings, load_fleet(config))))


async def _until_told(agent: "Agent") -> None:
    """SIGTERM and SIGINT drain and end; a second one ends at once, as durable as after a power cut."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, agent.reload)
    await agent.run(stop)
