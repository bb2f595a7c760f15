"""`control-plane token`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import Json
from control_plane.serving.tokens import TokenFile

app = typer.Typer(no_args_is_help=True)
File = Annotated[Path, typer.Option("--file", help="the file that `serve --inference-tokens` reads")]
Name = Annotated[str, typer.Argument(help="who is to use it, for example dashboard")]


@app.callback()
def _group() -> None:
    """Who may ask for predictions with a bearer token."""


@app.command()
def add(name: Name, file: File, as_json: Json = False) -> None:
    """Make a token and print it, once: the file keeps its SHA-256. An older one of this name is good no more.

    Example: control-plane token add dashboard --file data/inference_tokens
    """
    token = TokenFile(file).add(name)
    print(json.dumps({"name": name, "token": token}) if as_json else token)


@app.command("list")
def list_(file: File, as_json: Json = False) -> None:
    """The names that have a token.

    Example: control-plane token list --file data/inference_tokens
    """
    names = sorted(TokenFile(file).read())
    print(json.dumps(names) if as_json else "\n".join(names))


@app.command()
def remove(name: Name, file: File) -> None:
    """Take a token back; a running server refuses it within a second.

    Example: control-plane token remove dashboard --file data/inference_tokens
    """
    TokenFile(file).remove(name)
    print(f"{name}: token taken back")
