"""`control-plane token`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from control_plane.access.api_tokens import DAYS_DEFAULT
from control_plane.access.roles import SCOPES
from control_plane.commands.account import By, me
from control_plane.commands.options import Json
from control_plane.layout import Layout
from control_plane.serving.tokens import TokenFile

app = typer.Typer(no_args_is_help=True)
File = Annotated[
    Path | None,
    typer.Option("--file", help="for predictions: the file of `serve --inference-tokens`"),
]
DataDir = Annotated[
    Path | None, typer.Option(envvar="PM_DATA_DIR", help="for the API: the centre's folder; not with --file")
]
Account = Annotated[str, typer.Option(help="for the API: whose token it is")]
Name = Annotated[str, typer.Argument(help="what is to use it, for example dashboard")]


@app.callback()
def _group() -> None:
    """What programs show: for predictions a line in a file (--file), for the API a token of an account."""


@app.command()
def add(
    name: Name,
    file: File = None,
    data_dir: DataDir = None,
    account: Account = "",
    scope: Annotated[
        list[str] | None, typer.Option(help=f"for the API, may be repeated: {', '.join(SCOPES)}")
    ] = None,
    days: Annotated[int, typer.Option(help="for the API: until it ends")] = DAYS_DEFAULT,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Make a token and print it, once: its SHA-256 is kept. In a file it replaces an older one of this name.

    Example: control-plane token add dashboard --file data/inference_tokens

    Example: control-plane token add dashboard --account a.reyes --scope see --data-dir data
    """
    if file is not None:
        token = TokenFile(file).add(name)
    else:
        desk = Layout(_folder(data_dir)).access()
        token = desk.tokens.add(account, name, scope or [], days, by=by or me())
    print(json.dumps({"name": name, "token": token}) if as_json else token)


@app.command("list")
def list_(file: File = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """The tokens that there are, without themselves.

    Example: control-plane token list --file data/inference_tokens

    Example: control-plane token list --data-dir data
    """
    if file is not None:
        names = sorted(TokenFile(file).read())
        print(json.dumps(names) if as_json else "\n".join(names))
        return
    found = [one._asdict() for one in Layout(_folder(data_dir)).access().tokens.all()]
    if as_json:
        print(json.dumps(found, default=str))
        return
    for one in found:
        until = f"{one['expires']:%Y-%m-%d %H:%M} UTC"
        print(f"{one['account']}/{one['name']}: {', '.join(one['scopes'])}, until {until}")


@app.command()
def remove(
    name: Name, file: File = None, data_dir: DataDir = None, account: Account = "", by: By = ""
) -> None:
    """Take a token back; a running server refuses it within a second.

    Example: control-plane token remove dashboard --file data/inference_tokens

    Example: control-plane token remove dashboard --account a.reyes --data-dir data
    """
    if file is not None:
        TokenFile(file).remove(name)
    else:
        Layout(_folder(data_dir)).access().tokens.remove(account, name, by=by or me())
    print(f"{name}: token taken back")


def _folder(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise typer.BadParameter("give --file for predictions, or --data-dir with --account for the API")
    return data_dir
