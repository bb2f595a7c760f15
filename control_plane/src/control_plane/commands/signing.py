"""How commands name keys and people."""

from pathlib import Path
from typing import Annotated

import typer
from securesystemslib.signer import Signer, SSlibKey

from control_plane.commands.options import passphrase
from control_plane.release.keys import TOKEN, load_public, open_signer
from shared.errors import ConfigError

KeyOption = Annotated[str, typer.Option(help="private key: FILE.pem or pkcs11:token=LABEL;id=%02")]
By = Annotated[str, typer.Option(help="the proposer's private key, named like any; they cannot approve it")]


def open_key(key: str) -> Signer:
    """The signer of a key by its name; the passphrase or PIN is PM_KEY_PASSPHRASE's or asked for."""
    return open_signer(key, passphrase)


def people_of(texts: list[str], option: str) -> dict[str, SSlibKey]:
    """Public keys of `NAME=FILE.pub` options by name; ConfigError when a name is there twice."""
    people: dict[str, SSlibKey] = {}
    for text in texts:
        name, sign, path = text.partition("=")
        if not sign:
            raise ConfigError(option, [f"found {text!r}; expected NAME=FILE.pub"])
        if name in people:
            raise ConfigError(option, [f"{name} is named twice; each person has one key"])
        people[name] = load_public(Path(path), name)
    return people


def trusted_root_of(key: str, given: Path | None) -> Path:
    """Where an approver keeps their own root."""
    if given is None and key.startswith(TOKEN):
        raise ConfigError("--trusted-root", ["must name a file of yours where the key is on a token"])
    return given or Path(key).with_suffix(".root.json")
