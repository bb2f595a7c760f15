"""`control-plane keys`."""

from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import passphrase
from control_plane.release import keys

app = typer.Typer(
    no_args_is_help=True, help="Signing keys: approvers', the online role's, a site director's."
)


@app.callback()
def _group() -> None:
    """Signing keys of people, online roles and directors."""


@app.command()
def generate(
    name: Annotated[str, typer.Argument(help="whose key it is, for example alice or director-TX01")],
    folder: Annotated[Path, typer.Option(help="an approver's is their own, off this machine")],
) -> None:
    """Make an Ed25519 key pair: NAME.pem, encrypted with PM_KEY_PASSPHRASE or asked for, and NAME.pub.

    Example: control-plane keys generate alice --folder /media/alice
    """
    print(keys.generate(folder, name, passphrase(name)))
