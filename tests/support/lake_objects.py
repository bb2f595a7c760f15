"""A lake whose tables lie in an object store, and a store that is away or is watched."""

import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from control_plane.sinks.lake_place import settle
from tests.support.object_store import BUCKET

ADDRESS = f"s3://{BUCKET}/centre/lake"

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def settled(folder: Path) -> Path:
    """The folder of a lake whose tables will lie in the store."""
    settle(folder, ADDRESS)
    return folder


def emptied(server: ThreadedMotoServer) -> None:
    """What tests before left goes; an empty bucket is there."""
    host, port = server.get_host_and_port()
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", b"")
    boto3.client("s3").create_bucket(Bucket=BUCKET)


@contextmanager
def away(server: ThreadedMotoServer) -> Iterator[list[str]]:
    """It takes no request, as a store in trouble does, and keeps what it holds; what it refused."""
    refused: list[str] = []

    def unavailable(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        refused.append(str(environment["PATH_INFO"]))
        start("503 Service Unavailable", [("Content-Length", "0")])
        return [b""]

    with _answered(server, lambda _: unavailable):
        yield refused


@contextmanager
def watched(server: ThreadedMotoServer) -> Iterator[list[dict[str, Any]]]:
    """Every request meanwhile, as WSGI has it."""
    seen: list[dict[str, Any]] = []

    def watching(app: Wsgi) -> Wsgi:
        def noted(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            seen.append(dict(environment))
            return app(environment, start)

        return noted

    with _answered(server, watching):
        yield seen


@contextmanager
def _answered(server: ThreadedMotoServer, by: Callable[[Wsgi], Wsgi]) -> Iterator[None]:
    web: Any = server._server
    app, web.app = web.app, by(web.app)
    try:
        yield
    finally:
        web.app = app
