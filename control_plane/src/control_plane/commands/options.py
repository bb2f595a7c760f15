"""Options that several commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from shared.errors import ConfigError

PASSPHRASE = "PM_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable

DataDir = Annotated[Path, typer.Option(envvar="PM_DATA_DIR", help="the centre's folder")]
Json = Annotated[bool, typer.Option("--json", help="for a script")]


def passphrase(of: Path | str) -> str:
    """From the environment, else asked for at the terminal; ConfigError where there is neither."""
    found = os.environ.get(PASSPHRASE)
    if found is None:
        try:
            found = str(typer.prompt(f"Passphrase of {of}", hide_input=True))
        except typer.Abort as error:
            raise ConfigError(PASSPHRASE, ["is not set, and there is no terminal to ask at"]) from error
    return found
