"""`control-plane broker`."""

import asyncio
from typing import Annotated

import typer

from control_plane.ingest.evaluation_broker import NOTICE, run_broker
from shared.listen import parse_endpoint


def broker(listen: Annotated[str, typer.Option(help="HOST:PORT to serve on")] = "127.0.0.1:9092") -> None:
    """Serve Kafka's protocol from memory, for evaluation only: what it holds dies with it.

    Example: control-plane broker --listen 127.0.0.1:9092
    """
    print(NOTICE, flush=True)
    host, port = parse_endpoint(listen, "--listen")
    try:
        asyncio.run(run_broker(host, port))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
