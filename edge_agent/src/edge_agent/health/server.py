"""A small HTTP server on a thread of its own."""

import json
import threading
from collections.abc import Callable, Iterable
from typing import Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from edge_agent.health.judgement import Health, State
from shared.errors import ConfigError
from shared.listen import require_loopback


class HealthServer:
    """`/healthz` (503 when down) and `/metrics`; use it as a context manager."""

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, health: Callable[[], Health]
    ) -> None:
        require_loopback(host, "--health")
        self._address = (host, port)
        self._metrics = make_wsgi_app(registry)
        self._health = health

    def __enter__(self) -> Self:
        try:
            self._server = make_server(*self._address, self._answer, WSGIServer, _Quiet)
        except OSError as error:
            where = f"{self._address[0]}:{self._address[1]}"
            raise ConfigError("--health", [f"{where} cannot be used: {error.strerror}"]) from error
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """The port in use (for a server that was given port 0)."""
        return int(self._server.server_port)

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                page: Iterable[bytes] = self._metrics(environ, start)
                return page
            case "/healthz":
                health = self._health()
                status = "503 Service Unavailable" if health.state is State.DOWN else "200 OK"
                start(status, [("Content-Type", "application/json")])
                return [json.dumps(health._asdict()).encode()]
            case _:
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/healthz and /metrics are here\n"]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        return  # a scrape every few seconds is not news
