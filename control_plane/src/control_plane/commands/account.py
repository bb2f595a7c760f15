"""`control-plane account`."""

import getpass
import json
import os
from typing import Annotated

import typer
from rich.table import Table

from control_plane.access.accounts import Account
from control_plane.access.roles import Role
from control_plane.commands.options import DataDir, Json
from control_plane.layout import Layout
from shared.command_line import console

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="the account's name, for example a.reyes")]
By = Annotated[str, typer.Option(envvar="PM_USER", help="who does it, for the record; else who runs this")]


@app.callback()
def _group() -> None:
    """Who may sign in at the console. Whoever owns the centre's folder may do this, and nobody else."""


@app.command()
def add(
    name: Name,
    data_dir: DataDir,
    role: Annotated[list[Role], typer.Option(help="what they may do; may be repeated")],
    by: By = "",
    as_json: Json = False,
) -> None:
    """Make an account and print its one-time password, once; the first sign-in asks for another.

    Example: control-plane account add a.reyes --role operator --data-dir data
    """
    password = Layout(data_dir).access().accounts.add(name, role, by=by or me())
    _print_password(name, password, as_json)


@app.command("list")
def list_(data_dir: DataDir, as_json: Json = False) -> None:
    """Every account, what it may do, and whether it is in use.

    Example: control-plane account list --data-dir data
    """
    found = Layout(data_dir).access().accounts.all()
    if as_json:
        rows = [{"name": one.name, "roles": list(one.roles), "state": _state(one)} for one in found]
        print(json.dumps(rows))
        return
    table = Table("account", "roles", "state")
    for one in found:
        table.add_row(one.name, ", ".join(one.roles), _state(one))
    console().print(table)


@app.command()
def disable(name: Name, data_dir: DataDir, by: By = "") -> None:
    """Sign an account out for good; its tokens are gone. A running console follows within a second.

    Example: control-plane account disable a.reyes --data-dir data
    """
    Layout(data_dir).access().accounts.disable(name, by=by or me())
    print(f"{name}: disabled")


@app.command()
def password(name: Name, data_dir: DataDir, by: By = "", as_json: Json = False) -> None:
    """Print a new one-time password, for who has forgotten theirs; they are signed out everywhere.

    Example: control-plane account password a.reyes --data-dir data
    """
    _print_password(name, Layout(data_dir).access().accounts.give_password(name, by=by or me()), as_json)


def me() -> str:
    """Who runs this; a container's user has a number and perhaps no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _print_password(name: str, password: str, as_json: bool) -> None:
    print(json.dumps({"account": name, "one_time_password": password}) if as_json else password)


def _state(account: Account) -> str:
    if account.disabled:
        return "disabled"
    if account.elsewhere:
        return "signs in by OIDC"
    until = account.one_time_until
    return "in use" if until is None else f"one-time password, good until {until:%Y-%m-%d %H:%M} UTC"
