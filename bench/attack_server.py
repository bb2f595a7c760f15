"""A hostile centre: an HTTP server that shows any folder and plays tricks, and a fleet service."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import grpc

from shared.wire import fleet_pb2, fleet_pb2_grpc

HOST = "127.0.0.1"
STREAMS_MAX = 4  # an agent that was started again may come before its old stream ended

Trick = Callable[["Handler"], None]


class Handler(SimpleHTTPRequestHandler):
    """Serves the folder that is shown; a path with a trick gets that instead."""

    server: "HostileServer"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Play the path's trick, or serve the file."""
        path = unquote(self.path)
        self.server.asked.append(path)
        self.server.callers.add(self.client_address)
        trick = next((trick for end, trick in self.server.tricks.items() if path.endswith(end)), None)
        with suppress(ConnectionError):  # the agent has had enough
            if trick:
                self.close_connection = True
                trick(self)
            else:
                super().do_GET()

    def translate_path(self, path: str) -> str:
        """Inside of what is shown now."""
        self.directory = str(self.server.shown)
        return super().translate_path(path)

    def log_message(self, *_: object) -> None:
        """The agent's record is what counts."""

    def begin(self, length: int | None = None, status: int = 200, **headers: str) -> None:
        """The head of an answer that a trick goes on with."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()


class HostileServer(ThreadingHTTPServer):
    """A repository server in an attacker's hands; use it as a context manager."""

    daemon_threads = True
    block_on_close = False  # a trick may never end

    def __init__(self) -> None:
        super().__init__((HOST, 0), Handler)
        self.shown = Path()
        self.tricks: dict[str, Trick] = {}
        self.asked: list[str] = []
        self.callers: set[tuple[str, int]] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """What the agent is told as the repository's address."""
        return f"http://{HOST}:{self.server_port}"

    def show(self, folder: Path) -> None:
        """Serve this folder from now on, without tricks."""
        self.shown, self.tricks, self.asked = folder, {}, []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of ours."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class FleetPrompter(fleet_pb2_grpc.FleetServicer):
    """A fleet service that commands what it likes; use it as a context manager."""

    def __init__(self) -> None:
        self._commands: queue.SimpleQueue[fleet_pb2.CentreMessage] = queue.SimpleQueue()
        self.heard: list[fleet_pb2.SiteMessage] = []
        self._server = grpc.server(ThreadPoolExecutor(STREAMS_MAX))
        fleet_pb2_grpc.add_FleetServicer_to_server(self, self._server)
        self.address = f"{HOST}:{self._server.add_insecure_port(f'{HOST}:0')}"

    def command(self, rollout_id: str, generation: int) -> None:
        """Tell the site to look."""
        told = fleet_pb2.Command(rollout_id=rollout_id, generation=generation)
        self._commands.put(fleet_pb2.CentreMessage(command=told))

    def Connect(  # noqa: N802 - the name in the .proto
        self, request_iterator: Iterator[fleet_pb2.SiteMessage], context: grpc.ServicerContext
    ) -> Iterator[fleet_pb2.CentreMessage]:
        """Hear one site out, and pass the commands on."""
        threading.Thread(target=self._hear, args=(request_iterator,), daemon=True).start()
        while context.is_active():
            with suppress(queue.Empty):
                yield self._commands.get(timeout=0.2)

    def _hear(self, messages: Iterator[fleet_pb2.SiteMessage]) -> None:
        with suppress(grpc.RpcError):
            for message in messages:
                self.heard.append(message)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
