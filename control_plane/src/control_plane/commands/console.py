"""`control-plane console`."""

import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from control_plane.api.fleet_view import FleetView
from shared.errors import ConfigError
from shared.listen import parse_endpoint, require_loopback
from shared.reactor_config import load_fleet

STOP_DEADLINE_S = 2  # browsers keep their connections; they reconnect by themselves


def console(
    lake: Annotated[Path, typer.Option(help="the lake's folder, as ingest writes it")],
    config: Annotated[Path, typer.Option(help="reactor_config.yaml of the fleet")],
    listen: Annotated[str, typer.Option(help="HOST:PORT to serve on (loopback)")] = "127.0.0.1:8080",
) -> None:
    """Serve the fleet's pages and JSON API over a lake that another process fills.

    Example: control-plane console --lake data/lake --config reactor_config.yaml
    """
    host, port = parse_endpoint(listen, "--listen")
    require_loopback(host, "--listen")
    fleet = load_fleet(config)
    with _listener(host, port) as listener:
        from control_plane.console.app import create_app  # NiceGUI takes a second to import

        app = create_app(FleetView(lake, fleet))
        print(f"Console: http://{host}:{listener.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=STOP_DEADLINE_S)
        uvicorn.Server(settings).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    """The listening socket, taken before anything slow begins; ConfigError when it is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        message = (
            f"{host}:{port} cannot be used: {error.strerror}; stop what listens there or take another port"
        )
        raise ConfigError("--listen", [message]) from error
