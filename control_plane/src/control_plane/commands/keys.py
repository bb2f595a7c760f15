"""`control-plane keys`."""

from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import passphrase
from control_plane.release import keys

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Signing keys of people, online roles and directors."""


@app.command()
def generate(
    names: Annotated[list[str], typer.Argument(help="whose they are, for example alice or director-TX01")],
    folder: Annotated[Path, typer.Option(help="an approver's is their own, off this machine")],
) -> None:
    """Make an Ed25519 key pair each: NAME.pem, encrypted with PM_KEY_PASSPHRASE or asked for, NAME.pub.

    Example: control-plane keys generate alice --folder /media/alice
    """
    for name in names:
        print(keys.generate(folder, name, passphrase(name)))
