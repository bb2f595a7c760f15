"""`control-plane viewer`."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import DataDir
from control_plane.layout import Layout
from control_plane.serving.caller import EXPLORATION
from control_plane.serving.server_dialled import ServerDialled, token_on_hand
from control_plane.viewer.explorer import Explorer
from control_plane.viewer.server import ViewerSettings, serve
from control_plane.viewer.sources import Sources
from shared.errors import ConfigError
from shared.reactor_config import load_fleet

PemFile = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="PEM, to listen beyond loopback")
]


def viewer(
    config: Annotated[Path, typer.Option(envvar="PM_CONFIG", help="the fleet's reactor_config.yaml")],
    data_dir: DataDir,
    listen: Annotated[str, typer.Option(help="HOST:PORT of the page")] = "127.0.0.1:7860",
    inference: Annotated[
        str, typer.Option(envvar="PM_INFERENCE", help="HOST:PORT of the inference server")
    ] = "127.0.0.1:50051",
    inference_ca: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            envvar="PM_INFERENCE_CA",
            help="PEM: who signed the certificate of a server beyond loopback",
        ),
    ] = None,
    tls_certificate: PemFile = None,
    tls_key: PemFile = None,
    tokens: Annotated[
        Path | None, typer.Option(help="file of `control-plane token`: who may open the page beyond loopback")
    ] = None,
) -> None:
    """A page to try out what a model would say: load a CSV or a component, change values, predict, compare.

    Needs Gradio (the extra `viewer`). What it asks is on the audit record as exploration and reaches
    nothing of the plant's. A bearer token for the inference server is taken from PM_INFERENCE_TOKEN.

    Example: control-plane viewer --config reactor_config.yaml --data-dir data

    Example: control-plane viewer --config reactor_config.yaml --data-dir data
    --inference centre.example:50051 --inference-ca ca.pem
    """
    if find_spec("gradio") is None:
        raise ConfigError(
            "control-plane viewer",
            ["needs Gradio, which is not installed: pip install 'pm-stack-smr-control-plane[viewer]'"],
        )
    os.environ["GRADIO_ANALYTICS_ENABLED"] = (
        "False"  # before it is imported: it would ask and tell its makers
    )
    settings = ViewerSettings(listen, tls_certificate, tls_key, tokens)
    settings.check()
    sources = Sources(Layout(data_dir), load_fleet(config))
    server = ServerDialled(inference, token_on_hand(), inference_ca)
    explorer = Explorer(server.client(purpose=EXPLORATION))
    try:
        serve(lambda: _page(sources, explorer), settings, lambda text: print(text, flush=True))
    finally:
        explorer.close()


def _page(sources: Sources, explorer: Explorer) -> object:
    from control_plane.viewer.page import Page

    return Page(sources, explorer).blocks()
